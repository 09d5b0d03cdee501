"""What ``kubectl apply -k`` would send is valid, and keeps what the manifests promise."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

import kubernetes_validate
import pytest
import yaml

from services.predict.metrics.counters import registry
from services.predict.settings import SETTINGS
from tests.unit.deploy.rendered import (
    KUBERNETES,
    OVERLAYS,
    ROOT,
    VERSION,
    containers,
    environment,
    named,
    of_kind,
    render,
    selects,
    workloads,
)

MINORS = ["1.37", "1.36", "1.35"]  # the current one and the two before
CUSTOM = {"ServiceMonitor", "PrometheusRule"}  # the Prometheus operator's: their schemas are not Kubernetes' own
LABEL = "app.kubernetes.io/name"
overlays = pytest.mark.parametrize("overlay", OVERLAYS)


@pytest.mark.parametrize("minor", MINORS)
def test_every_object_fits_the_schemas(minor: str) -> None:
    """No unknown field, no missing one, in any overlay."""
    distinct = {json.dumps(o, sort_keys=True) for overlay in OVERLAYS for o in render(overlay)}
    checked = [o for o in map(json.loads, distinct) if o["kind"] not in CUSTOM]
    checked.append(yaml.safe_load((KUBERNETES / "upload.yaml").read_text("utf-8")))
    assert len(checked) > 30
    for document in checked:
        assert kubernetes_validate.validate(document, minor, strict=True) == minor


def test_a_misspelled_field_would_be_found() -> None:
    """The check above is strict."""
    broken = json.loads(json.dumps(named("dev", "Deployment", "model")))
    broken["spec"]["template"]["spec"]["containers"][0]["readinessprobe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, MINORS[0], strict=True)


def test_only_the_operators_kinds_are_left_out() -> None:
    """What is not checked against a schema here is known by name, and only where Prometheus is asked for."""
    for overlay in OVERLAYS:
        custom = {o["kind"] for o in render(overlay) if "monitoring.coreos.com" in o["apiVersion"]}
        assert custom <= CUSTOM
        assert bool(custom) == (overlay != "dev")


def test_the_operators_rules_are_those_of_prometheus() -> None:
    """One source for both: ``make prometheus-rule`` was run after the last change."""
    rules = yaml.safe_load((ROOT / "deploy" / "prometheus" / "rules.yml").read_text("utf-8"))
    assert rules["groups"]
    assert named("production", "PrometheusRule", "peerloan")["spec"] == rules


@overlays
def test_pods_meet_the_restricted_standard(overlay: str) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/, and a root that cannot be written, and no token."""
    (namespace,) = of_kind(overlay, "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for workload in workloads(overlay):
        pod = workload["spec"]["template"]["spec"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["runAsGroup"] == 10001
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        allowed = {"configMap", "secret", "emptyDir", "persistentVolumeClaim", "projected"}
        assert all(set(volume) - {"name"} <= allowed for volume in pod["volumes"])
    for _, container in containers(overlay):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert "hostPort" not in json.dumps(container["ports"])


@overlays
def test_every_container_has_bounds_and_probes(overlay: str) -> None:
    """Requests and limits of both resources; started, alive and ready are asked for separately."""
    for _, container in containers(overlay):
        for side in ("requests", "limits"):
            assert set(container["resources"][side]) == {"cpu", "memory"}
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert {"httpGet", "tcpSocket"} & set(container[probe])


@overlays
def test_readiness_asks_for_a_model_and_nothing_else_does(overlay: str) -> None:
    """A replica that waits for its first model is alive: it must be neither asked nor restarted."""
    (container,) = named(overlay, "StatefulSet", "predict")["spec"]["template"]["spec"]["containers"]
    paths = {p: container[p]["httpGet"]["path"] for p in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert paths == {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}


@overlays
def test_a_pod_that_ends_may_finish_its_requests(overlay: str) -> None:
    """The kubelet's patience covers preStop, gunicorn's graceful time-out, and the last rows on their way to the database."""
    pod = named(overlay, "StatefulSet", "predict")["spec"]["template"]["spec"]
    pause = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pause > 0
    (graceful,) = re.findall(
        r"graceful_timeout = (\d+)", (ROOT / "services/predict/server/gunicorn_conf.py").read_text("utf-8")
    )
    assert pod["terminationGracePeriodSeconds"] >= pause + int(graceful) + 15
    pod = named(overlay, "Deployment", "proxy")["spec"]["template"]["spec"]
    (hard_stop,) = re.findall(r"hard-stop-after (\d+)s", (ROOT / "deploy/haproxy/haproxy.cfg").read_text("utf-8"))
    pause = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] >= pause + int(hard_stop) + 5


@overlays
def test_what_must_survive_a_pod_is_on_its_own_volume(overlay: str) -> None:
    """The spool, the highest statement and the last known good model; and scaling down keeps them."""
    replicas = named(overlay, "StatefulSet", "predict")["spec"]
    (container,) = replicas["template"]["spec"]["containers"]
    (claim,) = replicas["volumeClaimTemplates"]
    mounted = {m["mountPath"] for m in container["volumeMounts"] if m["name"] == claim["metadata"]["name"]}
    variables = environment(container)
    for name in ("STATE_DIR", "DATA_DIR"):
        assert any(variables[name].startswith(f"{path}/") for path in mounted)
    assert set(replicas["persistentVolumeClaimRetentionPolicy"].values()) == {"Retain"}


@overlays
def test_the_pin_is_the_shipped_bundle(overlay: str) -> None:
    """As it is applied, the model that is in the repository is served."""
    pin = json.loads(named(overlay, "ConfigMap", "model-pin")["data"]["pin.json"])
    shipped = ROOT / "models" / "late-payers.bundle"
    assert pin == {"file": shipped.name, "sha256": hashlib.sha256(shipped.read_bytes()).hexdigest()}


@overlays
def test_a_new_pin_restarts_nothing(overlay: str) -> None:
    """It comes by a mounted directory under a constant name: no hash that would change the pod's template, no subPath, which the
    kubelet never updates, no variable."""
    pod = named(overlay, "Deployment", "model")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    (pin,) = (v["name"] for v in pod["volumes"] if v.get("configMap", {}).get("name") == "model-pin")
    (mount,) = (m for m in container["volumeMounts"] if m["name"] == pin)
    assert "subPath" not in mount
    assert environment(container)["MODEL_PIN_FILE"] == f"{mount['mountPath']}/pin.json"
    assert not {"MODEL_FILE_NAME", "MODEL_SHA256"} & set(environment(container))
    assert named(overlay, "Deployment", "model")["spec"]["strategy"] == {"type": "Recreate"}


def test_models_are_mounted_read_only_or_come_from_a_store() -> None:
    """The model service writes nowhere."""
    for overlay, kind in (("dev", "configMap"), ("production", "persistentVolumeClaim")):
        pod = named(overlay, "Deployment", "model")["spec"]["template"]["spec"]
        (volume,) = (v for v in pod["volumes"] if v["name"] == "models")
        (mount,) = (m for m in pod["containers"][0]["volumeMounts"] if m["name"] == "models")
        assert mount["readOnly"] is True
        assert set(volume) == {"name", kind}
    pod = named("s3", "Deployment", "model")["spec"]["template"]["spec"]
    assert environment(pod["containers"][0])["MODEL_DIR"].startswith("s3://")
    assert "models" not in {v["name"] for v in pod["volumes"]}


@overlays
def test_images_have_this_release_or_a_version(overlay: str) -> None:
    """Never `latest`: what was tested is what runs."""
    for _, container in containers(overlay):
        name, _, tag = container["image"].partition(":")
        assert re.fullmatch(r"\d+\.\d+(\.\d+)?", tag)
        if name.startswith("peerloan/"):
            assert tag == VERSION
    stack = (ROOT / "deploy" / "swarm" / "stack.yml").read_text("utf-8")
    assert re.findall(r"image: peerloan/\w+:\$\{VERSION:-(.+)\}", stack) == [VERSION] * 2
    upload = yaml.safe_load((KUBERNETES / "upload.yaml").read_text("utf-8"))
    assert upload["spec"]["containers"][0]["image"] == f"peerloan/model:{VERSION}"


@overlays
def test_selectors_find_their_pods(overlay: str) -> None:
    """Services, disruption budgets, network policies, spreads: each selects a workload that is there."""
    pods = [w["spec"]["template"]["metadata"]["labels"] for w in workloads(overlay)]
    selectors: list[Any] = [{"matchLabels": o["spec"]["selector"]} for o in of_kind(overlay, "Service")]
    selectors += [o["spec"]["selector"] for o in of_kind(overlay, "PodDisruptionBudget")]
    selectors += [o["spec"]["podSelector"] for o in of_kind(overlay, "NetworkPolicy")]
    for workload in workloads(overlay):
        template = workload["spec"]["template"]
        assert selects(workload["spec"]["selector"], template["metadata"]["labels"])
        spreads = template["spec"].get("topologySpreadConstraints", [])
        assert all(selects(s["labelSelector"], template["metadata"]["labels"]) for s in spreads)
    assert len(selectors) > 8
    for selector in selectors:
        assert any(selects(selector, labels) for labels in pods)
    for monitor in of_kind(overlay, "ServiceMonitor"):
        services = [s["metadata"]["labels"] for s in of_kind(overlay, "Service")]
        assert sum(selects(monitor["spec"]["selector"], labels) for labels in services) == 1


@overlays
def test_ports_and_names_lead_somewhere(overlay: str) -> None:
    """A service's port is a port of its pods; the Ingress, the autoscaler and mounted maps name what is there."""
    by_label = {w["spec"]["template"]["metadata"]["labels"][LABEL]: w for w in workloads(overlay)}
    for service in of_kind(overlay, "Service"):
        workload = by_label[service["spec"]["selector"][LABEL]]
        ports = {p["name"] for c in workload["spec"]["template"]["spec"]["containers"] for p in c["ports"]}
        assert {p["targetPort"] for p in service["spec"]["ports"]} <= ports
    for ingress in of_kind(overlay, "Ingress"):
        for path in ingress["spec"]["rules"][0]["http"]["paths"]:
            named(overlay, "Service", path["backend"]["service"]["name"])
    for scaler in of_kind(overlay, "HorizontalPodAutoscaler"):
        target = scaler["spec"]["scaleTargetRef"]
        assert "replicas" not in named(overlay, target["kind"], target["name"])["spec"]
    promised = {"api-keys", "prediction-log", "model-public-key", "model-store"}  # made by hand: docs/kubernetes.md
    maps = {o["metadata"]["name"] for o in of_kind(overlay, "ConfigMap")}
    for workload in workloads(overlay):
        for volume in workload["spec"]["template"]["spec"]["volumes"]:
            name = volume.get("configMap", {}).get("name") or volume.get("secret", {}).get("secretName")
            assert name is None or name in maps | promised


def test_replicas_are_added_by_load_and_by_what_waits() -> None:
    """By the processor everywhere; where Prometheus is there, also by a metric of the API, below what it works on at once."""
    assert len(of_kind("dev", "HorizontalPodAutoscaler")) == 0
    (scaler,) = of_kind("production", "HorizontalPodAutoscaler")
    cpu, waiting = scaler["spec"]["metrics"]
    assert cpu["resource"]["name"] == "cpu"
    names = {metric.name for metric in registry.collect()}
    assert waiting["pods"]["metric"]["name"] in names
    defaults = {s.name: int(s.default) for s in SETTINGS if s.name in ("WORKERS", "THREADS")}
    assert 0 < int(waiting["pods"]["target"]["averageValue"]) < defaults["WORKERS"] * defaults["THREADS"]


@overlays
def test_the_proxy_has_a_place_for_every_replica(overlay: str) -> None:
    """As many as the autoscaler may start; and it asks for them by the service's own name."""
    (places,) = re.findall(r"server-template replica 1-(\d+)", (ROOT / "deploy/haproxy/haproxy.cfg").read_text("utf-8"))
    for scaler in of_kind(overlay, "HorizontalPodAutoscaler"):
        assert scaler["spec"]["maxReplicas"] <= int(places)
    (container,) = named(overlay, "Deployment", "proxy")["spec"]["template"]["spec"]["containers"]
    service = named(overlay, "Service", "predict")
    assert service["spec"]["clusterIP"] == "None"
    assert environment(container)["REPLICAS"] == "predict.$(NAMESPACE).svc.cluster.local:8000"


@overlays
def test_who_may_speak_to_whom(overlay: str) -> None:
    """Denied unless allowed; the model service hears the prediction API alone, and that the proxy and Prometheus."""
    policies = of_kind(overlay, "NetworkPolicy")
    (deny,) = (p["spec"] for p in policies if p["metadata"]["name"] == "default-deny")
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}

    def heard_by(name: str) -> list[Any]:
        rules = [p["spec"] for p in policies if p["spec"]["podSelector"] == {"matchLabels": {LABEL: name}}]
        return [source for rule in rules for ingress in rule.get("ingress", []) for source in ingress["from"]]

    def pods(name: str) -> dict[str, Any]:
        return {"podSelector": {"matchLabels": {LABEL: name}}}

    assert heard_by("model") == [pods("predict")]
    ours = [source for source in heard_by("predict") if "namespaceSelector" not in source]
    theirs = [source for source in heard_by("predict") if "namespaceSelector" in source]
    assert ours == [pods("proxy")]
    assert len(theirs) == (overlay != "dev")
    assert all(source["podSelector"] == {"matchLabels": {LABEL: "prometheus"}} for source in theirs)
    assert len(heard_by("proxy")) == (overlay != "dev")


@overlays
def test_every_variable_is_a_setting(overlay: str) -> None:
    """A misspelled one would be ignored without a word."""
    known = {setting.name for setting in SETTINGS}
    (container,) = named(overlay, "StatefulSet", "predict")["spec"]["template"]["spec"]["containers"]
    assert set(environment(container)) <= known


@overlays
def test_no_secret_is_written_down(overlay: str) -> None:
    """Secrets are named, and made by hand."""
    assert of_kind(overlay, "Secret") == []
