"""The alert rules: valid, tested by promtool, and about metrics that exist."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from tests.deploy.promql import check_query, promtool, samples

REPOSITORY = Path(__file__).parents[2]
DEPLOY = REPOSITORY / "deploy"
RUNBOOK = REPOSITORY / "docs" / "runbook.md"
ALERT_TESTS = Path(__file__).with_name("alerts.test.yml")


def alerts() -> list[dict[str, str]]:
    groups = yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


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


def test_alerts_ask_for_metrics_and_labels_that_the_daemon_has() -> None:
    for alert in alerts():
        check_query(alert["expr"])


def test_every_alert_leads_to_its_place_in_the_runbook() -> None:
    text = RUNBOOK.read_text()
    names = [alert["alert"] for alert in alerts()]
    for alert in alerts():
        link = f"docs/runbook.md#{alert['alert'].lower()}"
        assert alert["annotations"]["runbook_url"] == link
    sections = re.findall(r"^### (Masklet\w+)\n(Metric: .+?Do: .+?)\n(?=\n|\Z)", text, re.M | re.S)
    assert sorted(name for name, _ in sections) == sorted(names)
    for alert in alerts():
        section = dict(sections)[alert["alert"]]
        asked = set(re.findall(r"\b(?:masklet|process)_\w+", alert["expr"]))
        shown = {re.sub("_bucket$", "", name) for name in asked}
        assert shown & set(re.findall(r"`(\w+)`", section)) or "`up`" in section


def test_runbook_names_metrics_that_there_are() -> None:
    known = {re.sub("_(bucket|sum|count)$", "", name) for name in samples()}
    named = set(re.findall(r"`((?:masklet|process)_\w+)`", RUNBOOK.read_text()))
    assert named <= known, named - known
