"""The documented name of :mod:`modelbundle.publishing.publish`."""

from modelbundle.publishing.publish import Published, publish

__all__ = ["Published", "publish"]
