"""Waiting for what a command began: until a new stream is up, and until a daemon has stopped."""

from __future__ import annotations

import os
import socket
import struct
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from streamer.client.api_client import ApiClient, ApiError
from streamer.errors import ControlError

POLL_S = 0.1
# Beyond open_timeout_s: the source begins on the daemon's side, and its answer takes its way.
MARGIN_S = 2.0
STOP_TIMEOUT_S = 60.0  # the largest shutdown_timeout_s


def until_up(client: ApiClient, path: str, stream: dict[str, Any], open_timeout_s: float) -> Any:
    """The answer of the stream at ``path`` once it delivered a picture or waits for a publisher.

    Raises ``ControlError`` with the reason after its first failed attempt, or when nothing came
    within ``open_timeout_s``.
    """
    deadline_s = time.monotonic() + open_timeout_s + MARGIN_S
    while not (stream["frames_decoded"] or stream["state"] == "live" or stream["whip"]):
        if stream["state"] != "connecting":
            why = stream["detail"] or stream["reason"] or stream["state"]
            again = f", and is tried again until `masklet remove {stream['id']}`"
            raise ControlError(
                f"{stream['id']} is added{again if stream['state'] == 'retrying' else ''}, but "
                f"delivers nothing: {why}"
            )
        if time.monotonic() > deadline_s:
            raise ControlError(
                f"{stream['id']} is added, but has no picture after {open_timeout_s:g} s; "
                "`masklet streams` shows what becomes of it"
            )
        time.sleep(POLL_S)
        stream = client.get(path)
    return stream


def until_stopped(client: ApiClient, process: int | None) -> bool:
    """Wait until the daemon's ``process`` is gone, or it answers no more; False: it still runs."""
    deadline_s = time.monotonic() + STOP_TIMEOUT_S
    while time.monotonic() < deadline_s:
        if not (_answers(client) if process is None else _runs(process)):
            return True
        time.sleep(POLL_S)
    return False


def process_at(control: str | None) -> int | None:
    """The process that listens at a control socket of this machine; None if it is not known."""
    if control is None or not hasattr(socket, "SO_PEERCRED"):
        return None
    with socket.socket(socket.AF_UNIX) as client, suppress(OSError):
        client.connect(control.removeprefix("ipc://"))
        found = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        process, _, _ = struct.unpack("3i", found)
        return process if process not in (0, os.getpid()) else None
    return None


def _runs(process: int) -> bool:
    """Whether a process has not ended; one whose parent has not asked for its exit code has."""
    try:
        state = Path(f"/proc/{process}/stat").read_text(errors="replace").rpartition(")")[2]
    except OSError:
        return False
    return state.split()[0] not in ("Z", "X")


def _answers(client: ApiClient) -> bool:
    try:
        client.get("/healthz")
    except ApiError as error:
        return error.status is not None
    return True
