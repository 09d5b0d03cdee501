"""What a load takes in processor time, memory and disk, for the calculator of ``docs/capacity.md``."""
