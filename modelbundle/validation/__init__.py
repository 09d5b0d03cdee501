"""From what a caller sent to rows and columns, or to every problem at once."""
