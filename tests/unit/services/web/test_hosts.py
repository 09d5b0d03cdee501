"""Which names a request's ``Host`` may have."""

from __future__ import annotations

import pytest

from services.web.hosts import KEPT, AllowedHosts, loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "[::1]", "localhost", "api.localhost"])
def test_names_of_this_machine(host: str) -> None:
    assert loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "localhost.example", "127.0.0.1.example", ""])
def test_names_that_others_may_have(host: str) -> None:
    assert not loopback(host)


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:5000",
        "localhost.",
        "127.0.0.1",
        "127.0.0.1:5000",
        "[::1]",
        "[::1]:80",
        "predict:5000",
        "x",
    ],
)
def test_localhost_stands_for_this_machine(host: str) -> None:
    assert AllowedHosts(["localhost"])(host)


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "evil.example:5000", "localhost.evil.example", "localhost:x", "localhost:²", "localhost@evil"],
)
def test_a_name_of_another_site_is_not_allowed(host: str) -> None:
    assert not AllowedHosts(["localhost"])(host)


def test_names_that_are_listed() -> None:
    """In any case, with any port; this machine's only if they are listed too."""
    allowed = AllowedHosts([" Loans.Example ", " api.example."])
    assert allowed("loans.example:443")
    assert allowed("API.EXAMPLE")
    assert not allowed("localhost")
    assert not allowed("other.example")


def test_a_star_allows_every_name() -> None:
    assert AllowedHosts(["*"])("any.example")


def test_names_that_are_tried_do_not_fill_the_memory() -> None:
    allowed = AllowedHosts(["localhost"])
    assert not any(allowed(f"{i}.example") for i in range(3 * KEPT))
    assert len(allowed._known) <= KEPT
    assert allowed("localhost")
