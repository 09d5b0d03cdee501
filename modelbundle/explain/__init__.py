"""Explanations of a score: reasons, curves of features, and their distributions."""
