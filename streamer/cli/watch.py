"""``masklet watch``: a daemon's results as a live table or as JSON lines."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TextIO
from urllib.parse import urlsplit

import msgspec
from rich.console import RenderableType
from rich.live import Live

from streamer.cli.lines import write_line
from streamer.cli.terminal import Terminal
from streamer.cli.watch_view import SILENT_AFTER_S, WatchView
from streamer.client import Subscriber
from streamer.wire.codec import FrameMessage, HeartbeatMessage, Message

TOPICS = ("boxes", "event", "status", "heartbeat")
HIGH_WATER_MARK = 1000
REFRESH_S = 0.1
PROBE_TIMEOUT_S = 1.0
# Without a terminal to redraw, the table is printed again this often.
PLAIN_REFRESH_S = 1.0
PLAIN_WAITING_S = 60.0
PLAIN_WIDTH = 140


def watch(
    endpoint: str,
    stream: str | None = None,
    as_json: bool = False,
    count: int | None = None,
    *,
    server_key: Path | str | None = None,
    client_keys: Path | str | None = None,
    output: TextIO | None = None,
) -> int:
    """Show messages until ``count`` results arrived (None: no limit) or Ctrl-C; return 0.

    On a terminal the table is redrawn in place. Elsewhere it is printed once a second, or once a
    minute the reason why there is none. ``as_json`` prints every result (without masks), event
    and status as one JSON object per line, with its ``topic`` first. Only results count. A reader
    that closes the pipe ends it too. Raises ``MaskletError`` for an unusable endpoint or key and
    for messages of another version.
    """
    stream_out = sys.stdout if output is None else output
    subscriber = Subscriber(
        endpoint,
        streams=None if stream is None else [stream],
        topics=TOPICS,
        server_key=server_key,
        client_keys=client_keys,
        latest_only=not as_json and count is None,
        high_water_mark=HIGH_WATER_MARK,
    )
    view = WatchView(endpoint, stream)
    try:
        with subscriber:
            if (reason := why_unanswered(endpoint)) is not None:
                write_line(f"masklet: nothing listens at {endpoint} yet ({reason})", sys.stderr)
            if as_json:
                _write_lines(subscriber, view, stream_out, count)
            else:
                console = Terminal(
                    file=stream_out, width=None if stream_out.isatty() else PLAIN_WIDTH
                )
                _show_table(subscriber, view, console, count)
    except KeyboardInterrupt:
        return 0
    except BrokenPipeError:
        # The buffered rest must not be written at exit: its reader is gone.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream_out.fileno())
    return 0


def why_unanswered(endpoint: str) -> str | None:
    """Why nothing accepts a connection at a publisher's endpoint; None: something does."""
    address = urlsplit(endpoint)
    try:
        if address.scheme == "ipc":
            path = endpoint.removeprefix("ipc://")
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(PROBE_TIMEOUT_S)
                client.connect("\0" + path[1:] if path.startswith("@") else path)
        else:
            place = (address.hostname or "", address.port or 0)
            socket.create_connection(place, PROBE_TIMEOUT_S).close()
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)
    return None


def json_line(message: Message) -> bytes:
    """A message's header as one JSON object, its topic first, without a newline."""
    if isinstance(message, FrameMessage):
        named = {"topic": str(message.topic), **msgspec.to_builtins(message.header)}
    else:
        named = {"topic": str(message.topic), **msgspec.to_builtins(message)}
    return msgspec.json.encode(named)


def _write_lines(
    subscriber: Subscriber, view: WatchView, output: TextIO, count: int | None
) -> None:
    started_s = time.monotonic()
    said_waiting = False
    while count is None or view.frames < count:
        message = subscriber.receive(REFRESH_S)
        waited_s = time.monotonic() - started_s
        if message is not None:
            view.observe(message, time.monotonic(), time.time_ns())
            if not isinstance(message, HeartbeatMessage):
                write_line(json_line(message).decode(), output)
                output.flush()
        if not view.has_streams and not said_waiting and waited_s >= SILENT_AFTER_S:
            write_line(view.waiting_reason(subscriber.silent_for_s, waited_s), sys.stderr)
            said_waiting = True


def _show_table(
    subscriber: Subscriber, view: WatchView, console: Terminal, count: int | None
) -> None:
    started_s = time.monotonic()

    def picture() -> RenderableType:
        now_s = time.monotonic()
        return view.render(subscriber.lost, subscriber.silent_for_s, now_s - started_s, now_s)

    with ExitStack() as stack:
        show: Callable[[RenderableType], None] = console.print
        interval_s = PLAIN_REFRESH_S
        if console.can_redraw:
            live = stack.enter_context(Live(console=console, auto_refresh=False))
            show = partial(live.update, refresh=True)
            interval_s = REFRESH_S
        shown_s = 0.0
        said_waiting = False  # printed lines stay: do not repeat every second that nothing came
        while count is None or view.frames < count:
            message = subscriber.receive(REFRESH_S)
            now_s = time.monotonic()
            if message is not None:
                view.observe(message, now_s, time.time_ns())
            waits = said_waiting and not view.has_streams
            if now_s - shown_s >= (PLAIN_WAITING_S if waits else interval_s):
                shown_s = now_s
                show(picture())
                said_waiting = not console.can_redraw and now_s - started_s >= SILENT_AFTER_S
        show(picture())
