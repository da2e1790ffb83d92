"""The fleet's metrics, and those of every worker with the labels ``worker`` and ``node``.

| name (prefix ``masklet_fleet_``) | meaning |
|---|---|
| ``streams_wanted``, ``streams_placed``, ``streams_waiting`` | streams by what becomes of them |
| ``moves_total`` | streams that changed their worker, by reason |
| ``failovers_total`` | streams placed anew after the loss of their worker |
| ``failover_seconds`` | summary: last sign of a lost worker to the stream's next answer |
| ``workers`` | workers by state |
| ``worker_load_ratio`` | the placed share of a worker's capacity: 1 is full |
| ``worker_overloaded`` | 1 while a worker cannot keep up |
| ``worker_up`` | 1 if a worker's own metrics are among these |
| ``manager_up`` | 0 while the manager is away, and the last view is shown |
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping

import httpx
import prometheus_client
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

from streamer.fleet.gateway.asking import Asking
from streamer.fleet.gateway.known_fleet import KnownFleet
from streamer.fleet.view import MoveReason, StreamState, WorkerState

_PREFIX = "masklet_fleet_"
_OF_WORKER = ("worker", "node")


class FleetMetrics(Collector):
    """Reads the view when asked. Bound: the exposition of every worker, while it is joined."""

    def __init__(self, fleet: KnownFleet) -> None:
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self._fleet = fleet
        self._asking = Asking(fleet, "/metrics", _exposition)
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._registry.register(self)

    async def exposition(self) -> bytes:
        """Everything in Prometheus' text format 0.0.4."""
        answers = await self._asking.answers()
        texts = {
            line.worker.worker_id: (line.worker.node, answers[line.worker.worker_id])
            for line in self._fleet.lines
            if line.worker.worker_id in answers
        }
        up = self._of_workers("worker_up", "1 if a worker's own metrics are among these")
        for worker in self._fleet.view.workers:
            up.add_metric([worker.worker_id, worker.node], float(worker.worker_id in texts))
        return await asyncio.to_thread(self._joined, up, texts)

    def collect(self) -> Iterator[Metric]:
        """The fleet's own."""
        view = self._fleet.view
        waiting = sum(each.state is StreamState.WAITING for each in view.streams)
        wanted = len(view.streams)
        yield _gauge("streams_wanted", "Streams that are wanted", wanted)
        yield _gauge("streams_placed", "Streams that have a worker", wanted - waiting)
        yield _gauge("streams_waiting", "Streams that fit nowhere now", waiting)
        moves = CounterMetricFamily(
            f"{_PREFIX}moves", "Streams that changed their worker", labels=["reason"]
        )
        for reason in MoveReason:
            moves.add_metric([reason.value], view.totals.moves.get(reason, 0))
        yield moves
        yield CounterMetricFamily(
            f"{_PREFIX}failovers",
            "Streams placed anew after the loss of their worker",
            value=view.totals.failovers,
        )
        yield SummaryMetricFamily(
            f"{_PREFIX}failover_seconds",
            "From the last sign of a lost worker to the stream's next answer",
            count_value=view.totals.failovers,
            sum_value=view.totals.failover_s,
        )
        workers = GaugeMetricFamily(f"{_PREFIX}workers", "Workers by state", labels=["state"])
        for state in WorkerState:
            count = sum(each.state is state for each in view.workers)
            workers.add_metric([state.value], count)
        yield workers
        load = self._of_workers("worker_load_ratio", "The placed share of a worker's capacity")
        overloaded = self._of_workers("worker_overloaded", "1 while a worker cannot keep up")
        for worker in view.workers:
            load.add_metric([worker.worker_id, worker.node], worker.load.share)
            overloaded.add_metric([worker.worker_id, worker.node], float(worker.load.overloaded))
        yield load
        yield overloaded
        yield _gauge("manager_up", "0 while the manager is away", float(self._fleet.is_current))

    def _joined(self, up: GaugeMetricFamily, texts: Mapping[str, tuple[str, bytes]]) -> bytes:
        own = CollectorRegistry()
        own.register(_Only(up))
        exposition = prometheus_client.generate_latest
        parts = [("", exposition(self._registry)), ("", exposition(own))]
        parts += [
            (f'worker="{_escaped(worker_id)}",node="{_escaped(node)}"', text)
            for worker_id, (node, text) in texts.items()
        ]
        return joined(parts)

    @staticmethod
    def _of_workers(name: str, documentation: str) -> GaugeMetricFamily:
        return GaugeMetricFamily(f"{_PREFIX}{name}", documentation, labels=_OF_WORKER)


def _exposition(answer: httpx.Response) -> bytes:
    if not answer.headers.get("content-type", "").startswith("text/plain"):
        raise ValueError("no metrics")
    return answer.content


class _Only(Collector):
    """One metric."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterator[Metric]:
        yield self._metric


def joined(parts: Iterable[tuple[str, bytes]]) -> bytes:
    """Expositions as one, each with further labels: every metric once, with all its samples.

    The format wants the lines of one metric together, below one ``# HELP`` and ``# TYPE``.
    """
    heads: dict[str, list[str]] = {}
    samples: dict[str, list[str]] = {}
    for labels, text in parts:
        family = ""
        is_known = False
        # Not splitlines: a label's value may hold other separators than the newline.
        for line in text.decode("utf-8", "replace").split("\n"):
            if line.startswith("# HELP "):
                family = line.split(" ", 3)[2]
                is_known = family in heads
                if not is_known:
                    heads[family] = [line]
                    samples[family] = []
            elif line.startswith("# TYPE "):
                if not is_known:
                    heads[family].append(line)
            elif line and not line.startswith("#") and family:
                samples[family].append(_labelled(line, labels))
    lines = [line for family in heads for line in (*heads[family], *samples[family])]
    return ("\n".join(lines) + "\n").encode()


def _labelled(line: str, labels: str) -> str:
    if not labels:
        return line
    brace, space = line.find("{"), line.find(" ")
    if 0 <= brace < space:
        return f"{line[: brace + 1]}{labels},{line[brace + 1 :]}"
    return f"{line[:space]}{{{labels}}}{line[space:]}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _gauge(name: str, documentation: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{_PREFIX}{name}", documentation, value=value)
