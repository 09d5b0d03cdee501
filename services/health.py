"""``python -m services.health``: asks this container's own service whether it lives; the images have no curl."""

import http.client
import os
import sys


def main() -> int:
    """0 when ``/healthz`` answers 200."""
    connection = http.client.HTTPConnection("127.0.0.1", int(os.environ.get("PORT") or 8000), timeout=2)
    try:
        connection.request("GET", "/healthz")
        return 0 if connection.getresponse().status == 200 else 1
    except OSError:
        return 1


if __name__ == "__main__":
    sys.exit(main())
