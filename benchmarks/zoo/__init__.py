"""A zoo of classifiers."""
