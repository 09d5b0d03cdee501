"""What learning from outcomes gives on real loans, and whether evidence keeps its promise."""
