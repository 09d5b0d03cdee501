"""Measured against the naive ways of doing the same."""
