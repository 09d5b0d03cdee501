"""No deployment unpickles a model that nobody signed, unless its operator says so."""

from __future__ import annotations

import re

import pytest
import yaml

from services.predict.settings import Settings
from tests.unit.deploy.rendered import OVERLAYS, ROOT, containers, environment

KEY = "model-public.pem"


def compose(path: str) -> dict[str, str]:
    """The prediction API's environment where the operator sets nothing."""
    text = (ROOT / path).read_text("utf-8")
    plain = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)
    return dict(yaml.safe_load(plain)["services"]["predict"]["environment"])


@pytest.mark.attack("pickles")
@pytest.mark.parametrize("path", ["docker-compose.yml", "deploy/swarm/stack.yml"])
def test_compose_takes_a_pickle_only_with_a_statement(path: str) -> None:
    """``ALLOW_PICKLE`` reaches the container, and its default there is the setting's own."""
    given = compose(path)
    assert given["ALLOW_PICKLE"] == "signed"
    assert not Settings.from_environment({**given, "MODEL_PUBLIC_KEY_FILE": ""}).allow_pickle
    assert Settings.from_environment({**given, "MODEL_PUBLIC_KEY_FILE": KEY}).allow_pickle


@pytest.mark.attack("pickles")
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kubernetes_takes_a_pickle_only_with_a_statement(overlay: str) -> None:
    """Production takes none."""
    (predict,) = (each for workload, each in containers(overlay) if workload == "predict")
    given = {name: value for name, value in environment(predict).items() if isinstance(value, str)}
    assert not Settings.from_environment({**given, "MODEL_PUBLIC_KEY_FILE": ""}).allow_pickle
    assert Settings.from_environment({**given, "MODEL_PUBLIC_KEY_FILE": KEY}).allow_pickle is (overlay == "dev")
