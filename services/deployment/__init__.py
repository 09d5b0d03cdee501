"""Deploys models to the running system and rolls them back."""
