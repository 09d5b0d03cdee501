"""Why a score is what it is: reasons, curves, distributions."""
