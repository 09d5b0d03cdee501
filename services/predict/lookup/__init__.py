"""The pages on which logged predictions and deployments are looked up, for keys with the role ``audit``."""
