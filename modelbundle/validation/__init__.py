"""Validation of inputs: JSON documents, whole columns and CSV cells, by the rules of one schema."""
