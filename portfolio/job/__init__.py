"""A run over a book: plan, processes, checkpoints, assembly."""
