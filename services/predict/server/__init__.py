"""gunicorn: its configuration, the worker class, and the threads and processes that go with a worker."""
