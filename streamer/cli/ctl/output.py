"""What ``masklet ctl`` prints of the API's answers: lines and tables for people, or JSON."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from streamer.client.api_client import ServerEvent


def state_text(stream: dict[str, Any]) -> str:
    """How a stream of the API's stands."""
    state = str(stream["state"])
    if stream["reason"]:
        state += f" ({stream['reason']})"
    return f"{state}, paused" if stream["paused"] else state


def starter_text(stream: dict[str, Any]) -> str:
    """What starts objects by itself on a stream of the API's, and how it does."""
    starter = stream.get("starter")
    if starter is None:
        return "-"
    text = f"{starter['kind']}: {str(starter['state']).replace('_', ' ')}"
    if starter["reason"]:
        text += f" ({starter['reason']})"
    return f"{text}, {starter['started']} started"


def box_text(found: dict[str, Any]) -> str:
    """Where an object of the API's is; ``-`` if it is not seen."""
    return ",".join(map(str, found["bbox"])) if found["area"] else "-"


def print_stream(stream: dict[str, Any], *, as_json: bool) -> int:
    """A stream of the API's, in a line or as JSON; the exit code."""
    if as_json:
        return print_json(stream)
    print_line(f"{stream['id']}: {state_text(stream)}, {stream['url']}")
    return 0


def print_event(event: ServerEvent, *, as_json: bool) -> None:
    """An event, at once."""
    said: dict[str, Any] = {}
    with suppress(ValueError):
        said = json.loads(event.data)
    if as_json:
        print_json({"type": "missed", **said} if event.kind == "missed" else said)
    elif event.kind == "missed":
        count = said.get("count")
        print_line(f"{'some' if count is None else count} events were missed")
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
        print_line("  ".join(words))
    sys.stdout.flush()


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table for people."""
    from rich.table import Table

    from streamer.cli.terminal import Terminal

    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading)
    for row in rows:
        table.add_row(*row)
    Terminal().print(table, soft_wrap=not sys.stdout.isatty())


def print_json(*answers: object) -> int:
    """Each answer as a line of JSON; the exit code."""
    for answer in answers:
        print_line(json.dumps(answer, ensure_ascii=False))
    return 0


def print_line(line: str) -> None:
    """A line for people."""
    sys.stdout.write(f"{line}\n")
