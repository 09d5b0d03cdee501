"""The file format: archive, manifest, arrays, reference distributions, statements, plain pickles."""
