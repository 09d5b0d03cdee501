"""Clients that ask: as fast as they are answered, or at a fixed rate. Only loopback is ever a target."""
