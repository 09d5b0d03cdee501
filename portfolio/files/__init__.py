"""Files of a portfolio: their locations, and how rows are read and written."""
