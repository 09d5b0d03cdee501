"""The model bundle: its format, its validation of inputs, its scorers, and how to publish one.

The package knows neither services nor loans. Loading a bundle with a compiled scorer imports only numpy and the standard
library. Publishing imports scikit-learn and pandas, and so does loading a model that must be unpickled.
"""

__version__ = "0.1.0"
