"""Grafana's dashboards: every query finds what the code has, every panel has a unit."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.promql import check_query, labels_of, promtool, samples

FOLDER = Path(__file__).parents[2] / "deploy" / "grafana" / "dashboards"
DASHBOARDS = {path.stem: json.loads(path.read_text()) for path in FOLDER.glob("*.json")}
# Those of Grafana's units (@grafana/data 13.2, valueFormats) that fit what we measure.
UNITS = {"none", "s", "percentunit", "bytes", "pixel", "cps", "eps", "mps", "wps", "bool_yes_no"}
WIDTH = 24
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}

every = pytest.mark.parametrize("name", sorted(DASHBOARDS))


def queries(dashboard: dict[str, Any]) -> list[str]:
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


def filled_in(query: str) -> str:
    """The query as Grafana sends it when everything is chosen."""
    return re.sub(r"\$(?!__)\w+", ".*", re.sub(r"\$__(rate_interval|range)", "1m", query))


def series_of(sample: str, labels: dict[str, str]) -> str:
    return f"{sample}{{{', '.join(f'{name}={json.dumps(labels[name])}' for name in labels)}}}"


@every
def test_queries_ask_for_metrics_and_labels_that_there_are(name: str) -> None:
    for query in queries(DASHBOARDS[name]):
        check_query(query)


@every
def test_prometheus_finds_a_number_for_every_query(name: str, tmp_path: Path) -> None:
    """promtool evaluates each against all series that /metrics shows, while they count up."""
    series = [
        {
            "series": series_of(
                sample,
                {"instance": "a:9464", "job": "masklet", "worker": "a", "node": "b"} | labels,
            ),
            "values": "1x40" if kind == "gauge" else "0+30x40",
        }
        for sample, (kind, every_series) in samples().items()
        for labels in every_series
    ]
    expected = [
        {
            "expr": f"count(({filled_in(query)}) >= -Inf) > bool 0",
            "eval_time": "8m",
            "exp_samples": [{"labels": "{}", "value": 1}],
        }
        for query in queries(DASHBOARDS[name])
    ]
    case = {"interval": "15s", "input_series": series, "promql_expr_test": expected}
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"rule_files": [], "tests": [case]}))
    promtool("test", "rules", file)


@every
def test_panels_have_units_and_legends_and_do_not_overlap(name: str) -> None:
    dashboard = DASHBOARDS[name]
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        title = panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, title
        assert panel["datasource"] == DATASOURCE, title
        for target in panel["targets"]:
            grouped = ", ".join(re.findall(r"by \(([^)]*)\)", target["expr"]))
            known = set(re.split(r",\s*", grouped)) if grouped else of_all(target["expr"])
            for label in re.findall(r"{{(\w+)}}", target["legendFormat"]):
                assert label in known, f"{title}: {label} is in no result"
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= WIDTH, title
        cells = {
            (at["x"] + column, at["y"] + row) for column in range(at["w"]) for row in range(at["h"])
        }
        assert not cells & taken, f"{title} lies over another"
        taken |= cells
    numbers = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(numbers)) == len(numbers)


def of_all(query: str) -> set[str]:
    """The labels of a query that groups by none."""
    metrics = re.findall(r"\b(?:masklet|process)_\w+", query)
    return set[str]().union(*map(labels_of, metrics))


@every
def test_variables_are_defined_and_read_from_labels_that_there_are(name: str) -> None:
    dashboard = DASHBOARDS[name]
    variables = {each["name"]: each for each in dashboard["templating"]["list"]}
    used = set(re.findall(r"\$(?!__)\{?(\w+)", json.dumps(dashboard)))
    assert used == variables.keys()
    for variable in variables.values():
        if variable["type"] == "query":
            found = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"])
            assert found is not None, variable["query"]
            check_query(found[1])
            assert found[2] in labels_of(found[1].partition("{")[0])


def test_dashboards_are_told_apart_by_their_names() -> None:
    assert all(board["uid"] == f"masklet-{name}" for name, board in DASHBOARDS.items())
    assert len({board["title"] for board in DASHBOARDS.values()}) == len(DASHBOARDS)
