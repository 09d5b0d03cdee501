"""Pods of rendered manifests as containers: what the kubelet makes of a pod's template, on a Docker engine.

Taken from the template as it is: image, arguments, environment, user, read-only root, capabilities, limits, volumes, probes,
preStop and the grace period. Config maps and secrets are written the way the kubelet writes them: files are links into
``..data``, which is a link that is replaced when the map changes.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import subprocess
import time
import uuid
from pathlib import Path
from typing import Any

from tests.integration.system import free_port, until
from tests.unit.deploy.rendered import Object, named, of_kind, selects

UNITS = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}


def docker(*arguments: str) -> str:
    """The output of one docker command."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def size(quantity: str) -> int:
    """``64Mi`` in bytes."""
    return int(quantity[:-2]) * UNITS[quantity[-2:]]


def cores(quantity: str) -> float:
    """``250m`` in cores."""
    return float(quantity[:-1]) / 1000 if quantity.endswith("m") else float(quantity)


def write_map(directory: Path, data: dict[str, bytes]) -> None:
    """Bring a config map's or secret's volume up to date, as the kubelet does: one rename changes all files."""
    directory.mkdir(parents=True, exist_ok=True)
    fresh = directory / f"..{time.time_ns()}"
    fresh.mkdir()
    for name, content in data.items():
        (fresh / name).write_bytes(content)
        if not (directory / name).is_symlink():
            (directory / name).symlink_to(f"..data/{name}")
    (directory / "..data_tmp").symlink_to(fresh.name)
    os.replace(directory / "..data_tmp", directory / "..data")


class Cluster:
    """A network of containers. ``maps`` are config maps and secrets that are made by hand, ``claims`` directories by claim."""

    def __init__(
        self, overlay: str, folder: Path, maps: dict[str, dict[str, bytes]], claims: dict[str, Path], **settings: str
    ) -> None:
        self.overlay = overlay
        self.folder = folder
        self.claims = claims
        self.settings = settings
        self.maps = maps
        for found in of_kind(overlay, "ConfigMap"):
            own = {name: text.encode() for name, text in found.get("data", {}).items()}
            self.maps.setdefault(found["metadata"]["name"], own)
        self.name = f"peerloan-{uuid.uuid4().hex[:8]}"
        self.pods: dict[str, str] = {}  # the container of each pod
        self.volumes: list[str] = []
        self.port = free_port()
        docker("network", "create", self.name)

    def close(self) -> None:
        """Remove everything."""
        for pod in list(self.pods):
            with (self.folder / f"{pod}.log").open("w", encoding="utf-8") as log:
                subprocess.run(["docker", "logs", self.pods[pod]], stdout=log, stderr=log, check=False, timeout=60)
            docker("rm", "-fv", self.pods.pop(pod))
        for volume in self.volumes:
            docker("volume", "rm", "-f", volume)
        docker("network", "rm", self.name)

    def apply(self, name: str, data: dict[str, bytes]) -> None:
        """A config map or secret has changed, and the kubelet has seen it."""
        self.maps[name] = data
        write_map(self.folder / "maps" / name, data)

    def start(self, kind: str, name: str, number: int = 0) -> str:
        """Start a pod of a workload; returns its name. Its volume is the one that the number had before, if it had one."""
        workload = named(self.overlay, kind, name)
        template = workload["spec"]["template"]
        pod, spec = f"{name}-{number}", template["spec"]
        (container,) = spec["containers"]
        own = spec["securityContext"]
        command = ["run", "-d", "--name", f"{self.name}-{pod}", "--hostname", pod, "--network", self.name]
        for service in of_kind(self.overlay, "Service"):
            if selects({"matchLabels": service["spec"]["selector"]}, template["metadata"]["labels"]):
                short, space = service["metadata"]["name"], service["metadata"]["namespace"]
                command += ["--network-alias", short, "--network-alias", f"{short}.{space}.svc.cluster.local"]
        command += ["--user", f"{own['runAsUser']}:{own['runAsGroup']}"]
        if own["seccompProfile"] == {"type": "RuntimeDefault"}:
            assert "seccomp" in docker("info", "--format", "{{.SecurityOptions}}")
        rules = container["securityContext"]
        command += ["--read-only"] * rules["readOnlyRootFilesystem"]
        command += ["--security-opt", "no-new-privileges"] * (not rules["allowPrivilegeEscalation"])
        command += [part for dropped in rules["capabilities"]["drop"] for part in ("--cap-drop", dropped)]
        limits = container["resources"]["limits"]
        memory = str(size(limits["memory"]))
        command += ["--memory", memory, "--memory-swap", memory, "--cpus", str(cores(limits["cpu"]))]
        for name_, value in self._environment(container, workload["metadata"]["namespace"]).items():
            command += ["-e", f"{name_}={value}"]
        sources = {v["name"]: v for v in spec["volumes"]}
        templates = {c["metadata"]["name"] for c in workload["spec"].get("volumeClaimTemplates", [])}
        for mount in container["volumeMounts"]:
            if mount["name"] in templates:
                command += ["-v", f"{self._own_volume(pod, own['fsGroup'])}:{mount['mountPath']}"]
            else:
                command += self._mount(sources[mount["name"]], mount)
        if name == "proxy":
            command += ["-p", f"127.0.0.1:{self.port}:{container['ports'][0]['containerPort']}"]
        command += [container["image"], *container.get("args", [])]
        if pod in self.pods:
            docker("rm", "-fv", self.pods[pod])
        self.pods[pod] = docker(*command)
        return pod

    def _environment(self, container: Object, namespace: str) -> dict[str, str]:
        values: dict[str, str] = {}
        for entry in container.get("env", []):
            match entry:
                case {"value": value}:
                    values[entry["name"]] = re.sub(r"\$\((\w+)\)", lambda found: values[found[1]], value)
                case {"valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}}:
                    values[entry["name"]] = namespace
                case {"valueFrom": {"secretKeyRef": {"name": name, "key": key}}}:
                    values[entry["name"]] = self.maps[name][key].decode()
                case _:
                    raise AssertionError(f"not known here: {entry}")
        return values | {name: value for name, value in self.settings.items() if name in values}

    def _mount(self, source: Object, mount: Object) -> list[str]:
        assert "subPath" not in mount
        mode = ":ro" if mount.get("readOnly") else ""
        match source:
            case {"emptyDir": {"medium": "Memory", "sizeLimit": limit}}:
                return ["--tmpfs", f"{mount['mountPath']}:size={size(limit)},mode=1777"]
            case {"configMap": {"name": name}} | {"secret": {"secretName": name}}:
                if not (self.folder / "maps" / name).exists():
                    self.apply(name, self.maps[name])
                return ["-v", f"{self.folder / 'maps' / name}:{mount['mountPath']}{mode}"]
            case {"persistentVolumeClaim": {"claimName": name}}:
                return ["-v", f"{self.claims[name]}:{mount['mountPath']}{mode}"]
        raise AssertionError(f"not known here: {source}")

    def _own_volume(self, pod: str, group: int) -> str:
        """An empty volume that belongs to root and to the pod's group, like a new disk's; or the one that is there."""
        volume = f"{self.name}-data-{pod}"
        if volume not in self.volumes:
            docker("volume", "create", volume)
            self.volumes.append(volume)
            prepare = f"chown 0:{group} /volume && chmod 2775 /volume"
            docker("run", "--rm", "-v", f"{volume}:/volume:nocopy", "haproxy:2.6", "sh", "-c", prepare)
        return volume

    def ready(self, pod: str) -> bool:
        """What the kubelet finds when it runs the pod's readiness probe."""
        container = self._container(pod)
        probe, ports = container["readinessProbe"], {p["name"]: p["containerPort"] for p in container["ports"]}
        if "tcpSocket" in probe:
            socket.create_connection((self._address(pod), ports[probe["tcpSocket"]["port"]]), timeout=1).close()
            return True
        return self.get(pod, probe["httpGet"]["path"], ports[probe["httpGet"]["port"]])[0] == 200

    def wait(self, pod: str, seconds: float = 60) -> None:
        """Until the pod is ready."""
        until(lambda: self.ready(pod), seconds, f"{pod} is ready")

    def get(self, pod: str, path: str, port: int = 8000) -> tuple[int, Any]:
        """Ask one pod, past the proxy: status and JSON."""
        connection = http.client.HTTPConnection(self._address(pod), port, timeout=5)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def end(self, pod: str) -> None:
        """Delete the pod in good order: preStop, SIGTERM, and SIGKILL when its grace period is over. It must not be needed."""
        spec = named(self.overlay, *self._workload(pod))["spec"]["template"]["spec"]
        pause = spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
        time.sleep(pause)
        docker("stop", "--time", str(spec["terminationGracePeriodSeconds"] - pause), self.pods[pod])
        assert self.facts(pod)["State"]["ExitCode"] == 0

    def kill(self, pod: str) -> None:
        """The pod is gone from one moment to the next."""
        docker("kill", self.pods[pod])

    def facts(self, pod: str) -> Any:
        """What the engine says of the pod's container."""
        return json.loads(docker("inspect", self.pods[pod]))[0]

    def _address(self, pod: str) -> str:
        return str(self.facts(pod)["NetworkSettings"]["Networks"][self.name]["IPAddress"])

    def _workload(self, pod: str) -> tuple[str, str]:
        name = pod.rpartition("-")[0]
        return ("StatefulSet" if name == "predict" else "Deployment"), name

    def _container(self, pod: str) -> Object:
        found: Object = named(self.overlay, *self._workload(pod))["spec"]["template"]["spec"]["containers"][0]
        return found
