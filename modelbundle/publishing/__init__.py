"""Publishing a fitted scikit-learn pipeline as a bundle. It needs scikit-learn; services import only the annotations."""
