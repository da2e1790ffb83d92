"""Every metric that the code has, and whether a query asks for what there is."""

from __future__ import annotations

import asyncio
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import cast

from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families

from streamer.fleet.gateway.known_fleet import KnownFleet
from streamer.fleet.gateway.metrics import FleetMetrics
from streamer.fleet.view import Fleet, FleetView, Worker, WorkerState
from streamer.runtime.metrics import Metrics
from streamer.types import DropReason
from tracker.types import TrackState

# Labels that Prometheus adds when it scrapes, and a fleet's gateway to the metrics of its workers.
OF_THE_SCRAPE = {"instance", "job", "worker", "node"}
# The values of labels that a query may name.
VALUES = {
    "state": {*TrackState, *WorkerState},
    "reason": {*DropReason, "unauthorised"},
    "job": {"masklet"},
}
_METRIC = re.compile(r"\b((?:masklet|process)_\w+|up)\b(?:\{([^}]*)\})?")


def promtool(*arguments: str | Path) -> None:
    """Run promtool; its own words are the failure's."""
    finished = subprocess.run(
        ["promtool", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr


@cache
def samples() -> dict[str, tuple[str, list[dict[str, str]]]]:
    """Every name that a query can ask for: its type, and the labels of each of its series."""
    found: dict[str, tuple[str, list[dict[str, str]]]] = {"up": ("gauge", [{}])}
    metrics = Metrics()
    # A metric with labels shows nothing before one of them has a value.
    for wrapped in vars(metrics).values():
        if isinstance(wrapped, MetricWrapperBase) and wrapped._labelnames:
            wrapped.labels(*map(value_of, wrapped._labelnames))
    for shown in (metrics.exposition(), _of_a_fleet()):
        for family in text_string_to_metric_families(shown.decode()):
            for sample in family.samples:
                series = found.setdefault(sample.name, (family.type, []))[1]
                if family.name.startswith("masklet") or not series:  # both have a process
                    series.append(dict(sample.labels))
    return found


def _of_a_fleet() -> bytes:
    """What a gateway shows of a fleet of one worker, which does not answer."""
    workers = (Worker("a", "b", WorkerState.READY),)
    known = KnownFleet(cast(Fleet, None), connections=1)
    known.view = FleetView("fleet", 0, workers)
    return asyncio.run(FleetMetrics(known).exposition())


def value_of(label: str) -> str:
    """A value for a label: one that queries may name, else any."""
    return sorted(VALUES.get(label, {"a"}))[-1]


def labels_of(metric: str) -> set[str]:
    """The labels by which its series can be told apart, once they are scraped."""
    return samples()[metric][1][0].keys() | OF_THE_SCRAPE


def check_query(query: str) -> None:
    """The query's metrics exist, of the type that their use asks for, with the labels it names."""
    asked = list(_METRIC.finditer(query))
    assert asked, f"{query}: no metric of ours"
    for match in asked:
        name, selector = match[1], match[2] or ""
        assert name in samples(), f"{query}: there is no metric {name}"
        kind, labels = samples()[name][0], labels_of(name)
        rated = re.search(r"(rate|increase)\($", query[: match.start()]) is not None
        assert rated == (kind in ("counter", "histogram", "summary")), (
            f"{query}: {name} is a {kind}"
        )
        for label, value in re.findall(r'(\w+)\s*(?:=|!=|=~|!~)\s*"([^"]*)"', selector):
            assert label in labels, f"{query}: {name} has no {label}"
            known = value.startswith("$") or value in VALUES.get(label, {value})
            assert known, f"{query}: {label} is never {value!r}"
        for grouped in re.findall(r"by \(([^)]*)\)", query[: match.start()])[-1:]:
            for label in re.split(r",\s*", grouped):
                assert label in labels, f"{query}: {name} has no {label}"
