"""The overlays of ``deploy/kubernetes`` as ``kubectl apply -k`` would send them."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from modelbundle import __version__

ROOT = Path(__file__).parents[3]
KUBERNETES = ROOT / "deploy" / "kubernetes"
KUBECTL = Path(sys.executable).parent / "kubectl"
VERSION = __version__
OVERLAYS = ("dev", "production", "s3")

Object = dict[str, Any]


@cache
def render(overlay: str) -> list[Object]:
    """All objects of an overlay, rendered by kustomize."""
    done = subprocess.run(
        [KUBECTL, "kustomize", KUBERNETES / "overlays" / overlay], capture_output=True, check=True, timeout=60
    )
    return [o for o in yaml.load_all(done.stdout, yaml.CSafeLoader) if o]


def of_kind(overlay: str, *kinds: str) -> list[Object]:
    """The objects of these kinds."""
    return [o for o in render(overlay) if o["kind"] in kinds]


def named(overlay: str, kind: str, name: str) -> Object:
    """The one object with this kind and name."""
    (found,) = (o for o in of_kind(overlay, kind) if o["metadata"]["name"] == name)
    return found


def workloads(overlay: str) -> list[Object]:
    """What makes pods."""
    return of_kind(overlay, "Deployment", "StatefulSet")


def containers(overlay: str) -> list[tuple[str, Object]]:
    """Every container with its workload's name."""
    found = []
    for workload in workloads(overlay):
        pod = workload["spec"]["template"]["spec"]
        found += [(workload["metadata"]["name"], c) for c in [*pod.get("initContainers", []), *pod["containers"]]]
    return found


def environment(container: Object) -> dict[str, Any]:
    """A container's variables by name: the value, or where it comes from."""
    return {e["name"]: e.get("value", e.get("valueFrom")) for e in container.get("env", [])}


def selects(selector: Object, labels: dict[str, str]) -> bool:
    """Whether a selector without expressions matches the labels."""
    assert set(selector) <= {"matchLabels"}
    return selector.get("matchLabels", {}).items() <= labels.items()
