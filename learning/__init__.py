"""From the prediction log and its outcomes to a better model."""
