"""``python -m services.web.healthcheck [PATH]``: ask this container's own service whether it lives, or print its answer.

The images have no curl.
"""

import http.client
import os
import sys


def main(path: str = "") -> int:
    """0 when the answer is 200."""
    connection = http.client.HTTPConnection("127.0.0.1", int(os.environ.get("PORT") or 8000), timeout=2)
    try:
        connection.request("GET", path or "/healthz")
        answer = connection.getresponse()
        if path:
            print(answer.read().decode())
        return 0 if answer.status == 200 else 1
    except OSError:
        return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
