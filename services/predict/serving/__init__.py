"""From validated rows to answers: the models in memory, the predictor, and the prediction log."""
