"""``GET /readyz`` tells the trouble of now, not that of a follower that is gone."""

from __future__ import annotations

import time

from flask.testing import FlaskClient

from services.predict.api.health import STALE
from services.predict.rollout.state_dir import StateDir


def test_the_trouble_of_a_follower_that_is_silent_is_not_told(client: FlaskClient, store: StateDir) -> None:
    """Its last word may be long over; that it is silent is what is known. Nor is the model confirmed then."""
    status = {"confirmed": True, "trouble": "the model service cannot be reached", "wanted": None}
    store.write_status({**status, "beat": time.monotonic()})
    told = client.get("/readyz").get_json()
    assert (told["trouble"], told["confirmed"]) == (status["trouble"], True)
    for beat in (time.monotonic() - STALE - 1, time.monotonic() + 1000):  # of before the machine was started, too
        store.write_status({**status, "beat": beat})
        told = client.get("/readyz").get_json()
        assert (told["trouble"], told["confirmed"]) == ("the follower has not reported lately", False)
    store.write_status({**status, "trouble": None, "beat": time.monotonic()})
    assert client.get("/readyz").get_json()["trouble"] is None
