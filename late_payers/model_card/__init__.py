"""The model card of the champion: measurements, plots and written sections."""
