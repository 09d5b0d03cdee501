"""From a fitted scikit-learn pipeline to a bundle. Needs scikit-learn; nothing that serves imports it."""
