"""What a model is: one file, one SHA-256.

The package knows nothing of services and nothing of loans. Importing its loading side costs numpy and the standard
library only; scikit-learn and pandas are imported by publishing, and by loading a model that needs them.
"""

__version__ = "0.1.0"
