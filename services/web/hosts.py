"""Which names a request's ``Host`` may have.

A page of any site can ask a browser to send requests to a name of its own that it then points to this machine (DNS rebinding).
The browser says that name in ``Host``, so a service that anybody on this machine may use answers to this machine's names only.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

_LABEL = re.compile(r"[a-z0-9_-]{1,63}")
KEPT = 1000  # names that were looked at and are known


class AllowedHosts:
    """Says whether a ``Host`` has one of ``names``, whatever its port and the case of its letters.

    ``localhost`` among them stands for the addresses and names of this machine's loopback interface and for every name without a
    dot, which nobody can have in the public DNS; ``*`` for every name.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.names = frozenset(name.strip().lower().rstrip(".") for name in names if name.strip())
        self._known: dict[str, bool] = {}

    def __call__(self, host: str) -> bool:
        """Whether ``host``, the header's value, is allowed."""
        known = self._known.get(host)
        if known is None:
            if len(self._known) >= KEPT:
                self._known.clear()
            known = self._known[host] = self._allowed(host)
        return known

    def _allowed(self, host: str) -> bool:
        name, _, port = host.rpartition(":") if not host.endswith("]") else (host, "", "")
        if not name:
            name, port = host, ""
        if port and not (port.isascii() and port.isdigit()):
            return False
        name = name.lower().removesuffix(".")
        return "*" in self.names or name in self.names or ("localhost" in self.names and _ours(name))


def _ours(name: str) -> bool:
    return loopback(name) or bool(_LABEL.fullmatch(name))


def loopback(host: str) -> bool:
    """Whether only this machine can reach the address, or the name."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")  # RFC 6761, 6.3
