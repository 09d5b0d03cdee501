"""A book of millions of simulated loans, against the job that people write and against reading and writing alone."""
