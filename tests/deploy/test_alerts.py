"""The alert rules: valid, tested by promtool, and about metrics that exist."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import yaml

from streamer.runtime.metrics import Metrics

REPOSITORY = Path(__file__).parents[2]
DEPLOY = REPOSITORY / "deploy"
ALERT_TESTS = Path(__file__).with_name("alerts.test.yml")


def promtool(*arguments: str | Path) -> None:
    """Run promtool; its own words are the failure's."""
    finished = subprocess.run(
        ["promtool", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr


def alerts() -> list[dict[str, str]]:
    (group,) = yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"]
    return list(group["rules"])


def test_scrape_configuration_and_rules_are_valid() -> None:
    promtool("check", "config", DEPLOY / "prometheus.yml")
    promtool("check", "rules", DEPLOY / "alerts.yml")


def test_alerts_fire_when_they_should_and_only_then() -> None:
    promtool("test", "rules", ALERT_TESTS)


def test_every_alert_is_seen_firing_in_the_tests() -> None:
    cases = yaml.safe_load(ALERT_TESTS.read_text())["tests"]
    firing = {
        rule["alertname"]
        for case in cases
        for rule in case.get("alert_rule_test", [])
        if rule["exp_alerts"]
    }
    assert firing == {alert["alert"] for alert in alerts()}


def test_alerts_use_only_metrics_that_the_daemon_has() -> None:
    families = {family.name: family for family in Metrics().registry.collect()}
    for alert in alerts():
        for name in re.findall(r"\bmasklet_\w+", alert["expr"]):
            base = re.sub(r"_(total|bucket|sum|count)$", "", name)
            assert base in families, f"{alert['alert']} asks for {name}"
            expected = {"total": "counter", "bucket": "histogram"}.get(name.rpartition("_")[2])
            assert families[base].type == (expected or "gauge")


def test_alerts_use_only_labels_that_their_metric_has() -> None:
    labels = {
        wrapped._name: set(wrapped._labelnames)
        for wrapped in vars(Metrics()).values()
        if hasattr(wrapped, "_labelnames")
    }
    for alert in alerts():
        for name, selector in re.findall(r"\b(masklet_\w+)\{([^}]*)\}", alert["expr"]):
            asked = set(re.findall(r"(\w+)\s*(?:=|!=|=~|!~)", selector))
            assert asked <= labels[re.sub(r"_(total|bucket)$", "", name)]
