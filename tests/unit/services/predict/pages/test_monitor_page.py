"""``/monitor`` is there whatever happens to the model: that is when people look."""

from __future__ import annotations

from flask.testing import FlaskClient

from services.predict.rollout.state_dir import Store


def test_the_page_is_there_with_and_without_a_model(client: FlaskClient, store: Store) -> None:
    """It says what it needs without JavaScript."""
    assert client.get("/monitor").status_code == 200
    (store.root / "current").unlink()
    page = client.get("/monitor")
    assert page.status_code == 200
    assert "readyz" in page.text
