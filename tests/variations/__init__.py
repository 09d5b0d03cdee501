"""The unit tests as other machines run them: ``python -m tests.variations``."""
