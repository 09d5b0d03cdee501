"""A model's figures by group, where the group is known outside the service."""
