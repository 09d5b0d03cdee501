"""Large tables of a scorer, once in memory for all processes of a host."""
