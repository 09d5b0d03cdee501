"""Rules, dashboard and documents name only what exists, and leave out nothing."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.system import ROOT

PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES = [
    rule for group in yaml.safe_load((PROMETHEUS / "rules.yml").read_text("utf-8"))["groups"] for rule in group["rules"]
]
TESTS = yaml.safe_load((PROMETHEUS / "rules_test.yml").read_text("utf-8"))["tests"]
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "peerloan.json").read_text("utf-8"))
IMAGE = "prom/prometheus:v2.42.0"
ELSEWHERE = {"up", "haproxy_frontend_http_responses_total", "ALERTS"}  # of Prometheus, and of the proxy
DOCUMENTED = set(re.findall(r"^\| `(\w+)`", (ROOT / "docs" / "metrics.md").read_text("utf-8"), re.MULTILINE))


def named(expression: str) -> set[str]:
    """The metrics that an expression names, a histogram by its own name."""
    found = set(re.findall(r"\b(?:peerloan|haproxy)_\w+|\bup\b", re.sub(r'"[^"]*"', "", expression)))
    return {re.sub(r"_(bucket|sum|count)$", "", name) if name not in DOCUMENTED else name for name in found}


def expressions() -> list[str]:
    """Of all rules and panels."""
    panels = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    return [*(rule["expr"] for rule in RULES), *panels, *(a["expr"] for a in DASHBOARD["annotations"]["list"])]


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Prometheus' own tool, from the machine or from the image that compose runs; skips where there is neither."""
    if own := shutil.which("promtool"):
        command = [own, *arguments]
    elif (
        shutil.which("docker")
        and not subprocess.run(["docker", "image", "inspect", IMAGE], capture_output=True).returncode
    ):
        mount = ["-v", f"{PROMETHEUS}:/etc/prometheus:ro", "-w", "/etc/prometheus"]
        command = ["docker", "run", "--rm", "--network", "none", *mount, "--entrypoint", "promtool", IMAGE, *arguments]
    elif os.environ.get("REQUIRE_DOCKER"):
        pytest.fail("REQUIRE_DOCKER is set and there is neither promtool nor its image")
    else:
        pytest.skip("no promtool, and no engine with the image of Prometheus")
    return subprocess.run(command, cwd=PROMETHEUS, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    "arguments", [("check", "rules", "rules.yml"), ("test", "rules", "rules_test.yml")], ids=" ".join
)
def test_the_rules_do_what_they_say(arguments: tuple[str, ...]) -> None:
    """promtool reads them, and their own tests pass: when each fires, and that a quiet system has none."""
    done = promtool(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_every_alert_is_tested_and_explained(rule: dict[str, Any]) -> None:
    """It has a case that fires, a severity, a summary, and a section that says what to do."""
    cases = [case for test in TESTS for case in test.get("alert_rule_test", []) if case["alertname"] == rule["alert"]]
    assert any(case["exp_alerts"] for case in cases)
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"]["summary"]
    text = (ROOT / "docs" / "alerts.md").read_text("utf-8")
    section = text.partition(f"### {rule['alert']}\n")[2]
    assert section.startswith(f"*{rule['labels']['severity']}.*")


def test_no_alert_is_explained_that_is_gone() -> None:
    sections = re.findall(r"^### (\w+)$", (ROOT / "docs" / "alerts.md").read_text("utf-8"), re.MULTILINE)
    assert sections == [rule["alert"] for rule in RULES]


def test_rules_and_dashboard_name_only_metrics_that_exist() -> None:
    """docs/metrics.md is what the API exposes: another test compares the two."""
    for expression in expressions():
        assert named(expression)
        assert named(expression) <= DOCUMENTED | ELSEWHERE, expression


def test_the_dashboard_shows_all_that_is_measured() -> None:
    """A metric that nobody shows or watches need not be there."""
    shown = set().union(*map(named, expressions()))
    assert shown >= DOCUMENTED


def test_the_dashboard_can_be_imported() -> None:
    """Panels do not overlap, each has an id of its own, and asks the data source that is chosen."""
    cells: list[tuple[int, int]] = []
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells += [(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])]
        assert panel["datasource"]["uid"] == "${datasource}"
    assert len(cells) == len(set(cells))
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    assert [v["name"] for v in DASHBOARD["templating"]["list"]] == ["datasource"]


def test_the_rules_are_where_prometheus_looks_for_them() -> None:
    """And every replica and the proxy are scraped by the names and ports that compose gives them."""
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text("utf-8"))
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"]
    assert f"./deploy/prometheus:{Path(config['rule_files'][0]).parent}:ro" in compose["prometheus"]["volumes"]
    for job in config["scrape_configs"]:
        (found,) = job["dns_sd_configs"]
        assert set(found["names"]) <= set(compose)
        assert set(compose[found["names"][0]]["networks"]) & set(compose["prometheus"]["networks"])


def test_the_operator_scrapes_under_the_name_that_the_alerts_know() -> None:
    """In Kubernetes a job is named after its service, unless it is said otherwise."""
    monitor = yaml.safe_load((ROOT / "deploy/kubernetes/components/monitoring/servicemonitor.yaml").read_text("utf-8"))
    (endpoint,) = monitor["spec"]["endpoints"]
    (relabeling,) = endpoint["relabelings"]
    assert relabeling["targetLabel"] == "job"
    jobs = {job for rule in RULES for job in re.findall(r'job="(\w+)"', rule["expr"])}
    assert jobs == {relabeling["replacement"]}
