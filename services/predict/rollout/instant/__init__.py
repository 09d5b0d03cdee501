"""One instant for all hosts: when a model that is prepared begins to answer."""
