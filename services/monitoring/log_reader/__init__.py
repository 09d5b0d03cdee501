"""Reads the prediction log in bounded pages."""
