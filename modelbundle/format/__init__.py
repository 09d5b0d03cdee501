"""The file format of a bundle: archive, manifest, arrays, reference distributions, statements, and plain pickles."""
