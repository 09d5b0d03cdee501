"""The documented name of :mod:`modelbundle.publishing.annotations`."""

from modelbundle.publishing.annotations import Author, Band, FeatureWords

__all__ = ["Author", "Band", "FeatureWords"]
