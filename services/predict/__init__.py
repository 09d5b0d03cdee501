"""The public prediction API and the follower that brings new models in."""
