"""The table of ``masklet watch``: keeps the latest of every stream. No I/O."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from streamer.runtime.escaping import escaped
from streamer.wire.codec import (
    EventMessage,
    FrameMessage,
    HeartbeatMessage,
    Message,
    ObjectHeader,
    StatusMessage,
)

RATE_WINDOW_S = 3.0
SILENT_AFTER_S = 3.0
STREAMS_SHOWN = 64
EVENTS_SHOWN = 6
_STATE_STYLES = {
    "live": "green", "visible": "green", "occluded": "yellow", "retrying": "yellow",
    "connecting": "yellow", "lost": "red", "stopped": "red",
}  # fmt: skip


@dataclass(slots=True)
class _StreamView:
    state: str = ""
    reason: str = ""
    width: int = 0
    height: int = 0
    latency_ms: float | None = None
    clock_source: str = ""
    objects: list[ObjectHeader] = field(default_factory=list)
    # Bound: the arrivals of the window, at most 1024 of them.
    arrivals_s: deque[float] = field(default_factory=lambda: deque(maxlen=1024))
    dropped: dict[str, int] = field(default_factory=dict)

    def rate_hz(self, now_s: float) -> float:
        while self.arrivals_s and self.arrivals_s[0] < now_s - RATE_WINDOW_S:
            self.arrivals_s.popleft()
        if len(self.arrivals_s) < 2:
            return 0.0
        return (len(self.arrivals_s) - 1) / (self.arrivals_s[-1] - self.arrivals_s[0])


class WatchView:
    """The latest state of one publisher's streams.

    Bounds: ``STREAMS_SHOWN`` streams (the oldest is dropped), ``EVENTS_SHOWN`` events.
    """

    def __init__(self, endpoint: str, stream: str | None = None) -> None:
        self._endpoint = endpoint
        self._stream = stream
        self._streams: dict[str, _StreamView] = {}
        self._events: deque[EventMessage] = deque(maxlen=EVENTS_SHOWN)
        self._heartbeat: HeartbeatMessage | None = None
        self.frames = 0

    @property
    def has_streams(self) -> bool:
        """Whether anything about a stream has arrived."""
        return bool(self._streams)

    def observe(self, message: Message, now_monotonic_s: float, now_unix_ns: int) -> None:
        """Take in one message as it arrives."""
        match message:
            case FrameMessage():
                self._observe_frame(message, now_monotonic_s, now_unix_ns)
            case StatusMessage():
                view = self._view(message.stream_id)
                view.state = message.state
                view.reason = message.detail or message.reason or ""
                view.width, view.height = message.width, message.height
            case EventMessage():
                self._events.append(message)
            case HeartbeatMessage():
                self._heartbeat = message

    def _observe_frame(self, message: FrameMessage, now_s: float, now_unix_ns: int) -> None:
        header = message.header
        view = self._view(message.stream_id)
        view.objects = header.objects
        view.width, view.height = header.width, header.height
        view.clock_source = header.clock_source
        self.frames += 1
        if header.replayed:
            return
        view.state = view.state or "live"
        view.arrivals_s.append(now_s)
        view.latency_ms = (now_unix_ns - header.capture_time_ns) / 1e6
        for reason, count in header.dropped_since_last.items():
            view.dropped[reason] = view.dropped.get(reason, 0) + count

    def _view(self, stream_id: str) -> _StreamView:
        if stream_id not in self._streams and len(self._streams) >= STREAMS_SHOWN:
            del self._streams[next(iter(self._streams))]
        return self._streams.setdefault(stream_id, _StreamView())

    def waiting_reason(self, silent_for_s: float | None, waited_s: float) -> str:
        """Why there is nothing to show yet, and what to check."""
        if silent_for_s is None:
            hint = ""
            if waited_s >= SILENT_AFTER_S:
                hint = (
                    " Is `masklet run` up, is this its zeromq.endpoint, and if it has keys, is "
                    "yours on its list (--server-key, --client-keys)?"
                )
            return f"Waiting for {self._endpoint}: nothing has arrived for {waited_s:.0f} s.{hint}"
        known = self._heartbeat.streams if self._heartbeat is not None else []
        if self._stream is not None and self._stream not in known:
            there = ", ".join(known) or "none"
            return f"{self._endpoint} answers; it has no stream {self._stream!r}, but: {there}."
        return f"{self._endpoint} answers; none of its streams has sent anything yet."

    def render(
        self,
        lost: Mapping[str, int],
        silent_for_s: float | None,
        waited_s: float,
        now_monotonic_s: float,
    ) -> RenderableType:
        """The table and the lines below it, or the reason why there is none yet."""
        if not self._streams:
            return Text(escaped(self.waiting_reason(silent_for_s, waited_s)), style="yellow")
        below = [self._event_line(event) for event in self._events]
        stopping = self._heartbeat is not None and self._heartbeat.state == "stopping"
        if stopping:
            below.append(Text("the publisher has stopped; waiting for it to return", style="red"))
        elif silent_for_s is not None and silent_for_s > SILENT_AFTER_S:
            below.append(Text(f"nothing has arrived for {silent_for_s:.0f} s", style="red"))
        if lost:
            total = sum(lost.values())
            below.append(Text(f"{total} messages were lost on the way to here", style="yellow"))
        parts: list[RenderableType] = []
        for stream_id, view in self._streams.items():
            parts.append(_stream_line(stream_id, view, now_monotonic_s))
            if view.objects:
                parts.append(_object_table(view.objects))
        return Group(*parts, *below)

    def _event_line(self, event: EventMessage) -> Text:
        clock = time.strftime("%H:%M:%S", time.localtime(event.time_ns / 1e9))
        words = [clock, event.stream_id, event.kind]
        if event.object_id is not None:
            words.append(f"object {event.object_id}" + (f" ({event.label})" if event.label else ""))
        words += [word for word in (event.reason, event.detail) if word]
        if event.absent_s is not None:
            words.append(f"unseen for {event.absent_s:.1f} s")
        return Text(escaped(" ".join(words)), style="dim")


def _stream_line(stream_id: str, view: _StreamView, now_s: float) -> Text:
    line = Text.assemble((escaped(stream_id), "bold"), "  ", _state_text(view.state))
    if view.reason and view.state != "live":
        line.append(f"  {escaped(view.reason)}", style="dim")
    if view.width:
        line.append(f"  {view.width}×{view.height}")
    line.append(f"  {view.rate_hz(now_s):.1f} frames/s")
    if view.latency_ms is not None:
        line.append(f"  latency {view.latency_ms:.0f} ms ({view.clock_source})")
    dropped = ", ".join(f"{reason} {count}" for reason, count in view.dropped.items())
    line.append(f"  dropped {dropped or 0}", style="yellow" if dropped else "dim")
    return line


def _object_table(objects: list[ObjectHeader]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("object", justify="right")
    table.add_column("label", max_width=20, no_wrap=True)
    table.add_column("seen")
    for side in ("x0", "y0", "x1", "y1", "area", "score", "in picture"):
        table.add_column(side, justify="right")
    for entry in objects:
        box = [str(side) for side in entry.bbox] if entry.area else ["", "", "", ""]
        table.add_row(
            str(entry.id),
            Text(entry.label or ""),
            _state_text(entry.state),
            *box,
            str(entry.area),
            f"{entry.score:.2f}",
            f"{entry.object_score:.2f}",
        )
    return table


def _state_text(state: str) -> Text:
    return Text(state, style=_STATE_STYLES.get(state, ""))
