"""Where books lie, and how rows are read from them and written."""
