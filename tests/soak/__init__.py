"""A long, bounded load with swaps and faults: ``python -m tests.soak`` (``make soak``), and briefly in ``tests/integration``."""
