"""The description of the API, made from the current model, and the page that shows it."""
