"""A whole book scored at once: files in, files out, the API's answers bit for bit. Imports ``modelbundle`` and no service."""
