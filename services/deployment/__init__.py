"""Bringing a model out and taking it back, on whatever is running."""
