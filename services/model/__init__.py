"""The internal service that hands out the pinned model."""
