"""The output of ``masklet ctl``: lines and tables for people, or the API's JSON."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from streamer.cli.lines import write_line
from streamer.client.api_client import ServerEvent
from streamer.runtime.escaping import escaped

# Nothing is cut off: a row is one line, which a narrow terminal breaks.
WIDTH = 10_000


def state_text(stream: dict[str, Any]) -> str:
    """A stream's state."""
    state = str(stream["state"])
    if stream["reason"]:
        state += f" ({stream['reason']})"
    return f"{state}, paused" if stream["paused"] else state


def starter_text(stream: dict[str, Any]) -> str:
    """The kind, state and count of a stream's starter."""
    starter = stream.get("starter")
    if starter is None:
        return "-"
    text = f"{starter['kind']}: {str(starter['state']).replace('_', ' ')}"
    if starter["reason"]:
        text += f" ({starter['reason']})"
    return f"{text}, {starter['started']} started"


def box_text(found: dict[str, Any]) -> str:
    """An object's box; ``-`` if it is not visible."""
    return ",".join(map(str, found["bbox"])) if found["area"] else "-"


def print_stream(stream: dict[str, Any], *, as_json: bool) -> int:
    """Print a stream as a line or as JSON; return the exit code."""
    if as_json:
        return print_json(stream)
    write_line(f"{stream['id']}: {state_text(stream)}, {stream['url']}")
    return 0


def print_removed(stream_id: str, object_id: int | None = None, *, as_json: bool) -> int:
    """Print that a stream or an object of it is removed; return the exit code."""
    if as_json:
        return print_json({"id": stream_id, "object_id": object_id, "removed": True})
    what = stream_id if object_id is None else f"{stream_id}: object {object_id}"
    write_line(f"{what} is removed")
    return 0


def print_event(event: ServerEvent, *, as_json: bool) -> None:
    """Print an event, and flush."""
    said: dict[str, Any] = {}
    with suppress(ValueError):
        said = json.loads(event.data)
    if as_json:
        print_json({"type": "missed", **said} if event.kind == "missed" else said)
    elif event.kind == "missed":
        count = said.get("count")
        write_line(f"{'some' if count is None else count} events were missed")
    else:
        moment = time.strftime("%H:%M:%S", time.localtime(said["time_ns"] // 1_000_000_000))
        words = [moment, said["stream_id"], said["kind"]]
        if said["object_id"] is not None:
            words.append(f"object {said['object_id']}")
        words += [str(said[name]) for name in ("label", "reason", "detail") if said[name]]
        if said.get("absent_s") is not None:
            words.append(f"unseen for {said['absent_s']:.1f} s")
        if said["frame_index"] is not None:
            words.append(f"frame {said['frame_index']}")
        write_line("  ".join(words))
    sys.stdout.flush()


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table."""
    from rich.table import Table

    from streamer.cli.terminal import Terminal

    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading)
    for row in rows:
        table.add_row(*map(escaped, row))
    Terminal(width=WIDTH).print(table)


def print_json(*answers: object) -> int:
    """Print each answer as a line of JSON; return the exit code."""
    for answer in answers:
        write_line(json.dumps(answer, ensure_ascii=False))
    return 0
