"""The table of ``masklet fleet status``. No I/O."""

from __future__ import annotations

import time

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from streamer.fleet.view import FleetEvent, FleetView
from streamer.runtime.escaping import escaped

EVENTS_SHOWN = 8
_STYLES = {
    "ready": "green", "running": "green", "starting": "yellow", "moving": "yellow",
    "draining": "yellow", "waiting": "red", "lost": "red",
}  # fmt: skip


def table(view: FleetView) -> RenderableType:
    """Workers, streams, and the last events."""
    workers = _table("worker", "node", "state", "load", "streams", "objects", "address")
    for worker in view.workers:
        load = worker.load
        workers.add_row(
            worker.worker_id,
            escaped(worker.node),
            _state(worker.state),
            f"{load.share:.0%}" + (" overloaded" if load.overloaded else ""),
            str(load.streams),
            str(load.objects),
            worker.http or "",
        )
    streams = _table("stream", "state", "worker", "priority", "objects", "url or reason")
    for stream in view.streams:
        where = stream.worker_id or ""
        if stream.next_worker_id is not None:
            where = f"{where} → {stream.next_worker_id}"
        streams.add_row(
            stream.stream_id,
            _state(stream.state),
            where,
            str(stream.priority),
            str(stream.objects),
            Text(escaped(stream.reason or stream.url)),
        )
    parts: list[RenderableType] = [workers, streams]
    if view.trouble is not None:
        parts.append(Text(escaped(view.trouble), style="red"))
    if view.draining:
        parts.append(Text(f"draining: {escaped(', '.join(view.draining))}", style="yellow"))
    return Group(*parts, *(_event(each) for each in view.events[-EVENTS_SHOWN:]))


def _table(*columns: str) -> Table:
    made = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        made.add_column(column, overflow="fold")
    return made


def _state(state: str) -> Text:
    return Text(state, style=_STYLES.get(state, ""))


def _event(event: FleetEvent) -> Text:
    clock = time.strftime("%H:%M:%S", time.localtime(event.time_ns / 1e9))
    words = [clock, event.kind.replace("_", " "), event.stream_id, event.worker_id, event.reason]
    return Text(escaped(" ".join(word for word in words if word)), style="dim")
