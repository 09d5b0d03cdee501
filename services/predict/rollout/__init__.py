"""How a new model comes into a replica: followed, verified, rehearsed, prepared, switched."""
