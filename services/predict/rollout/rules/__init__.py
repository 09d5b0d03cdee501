"""Decisions of a replica's processes, without I/O."""
