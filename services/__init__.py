"""The two services, how they are run locally, and how models are brought out."""
