"""Two models on the same rows, for people: which rows one refuses, and how probabilities and bands move."""
