"""Notices of adverse action, as letters, from what was recorded when the prediction was made."""
