"""The routes for programs: predictions, outcomes, health, and who may use them."""
