"""Scores a whole portfolio from files to files, with the same bits as the API. Imports ``modelbundle`` and no service."""
