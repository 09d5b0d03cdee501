"""Arrow IPC streams in and out, for those who have frames."""
