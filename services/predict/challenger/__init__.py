"""The challenger: a model that scores what the champion answered, and answers nobody."""
