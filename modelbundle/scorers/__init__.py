"""What turns validated values into scores; one module per kind."""
