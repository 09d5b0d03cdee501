"""What swaps cost, and what workers weigh."""
