"""The statistics of drift and live performance."""
