"""Writes the alerts of ``deploy/prometheus/rules.yml`` as the Prometheus operator wants them: ``make prometheus-rule``."""

from pathlib import Path

import yaml

DEPLOY = Path(__file__).parents[1]
RULES = DEPLOY / "prometheus" / "rules.yml"
WRITTEN = DEPLOY / "kubernetes" / "components" / "monitoring" / "prometheusrule.yaml"
HEAD = "# Made from deploy/prometheus/rules.yml by `make prometheus-rule`.\n"

if __name__ == "__main__":
    rule = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "peerloan"},
        "spec": yaml.safe_load(RULES.read_text("utf-8")),
    }
    WRITTEN.write_text(HEAD + yaml.safe_dump(rule, sort_keys=False, allow_unicode=True, width=120), "utf-8")
