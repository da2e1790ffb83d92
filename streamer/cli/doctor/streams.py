"""Checks the sources of the configured streams: files, devices, open ports.

It neither decodes nor logs in: a camera that answers may still refuse the password.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

from streamer.cli.doctor.findings import Finding, Level
from streamer.config.schema import MaskletConfig
from streamer.config.streams import StreamConfig
from streamer.errors import ConfigError
from streamer.runtime.address import Address
from streamer.sources import make_source

CONNECT_TIMEOUT_S = 3.0


def check_streams(config: MaskletConfig) -> Iterator[Finding]:
    """A finding for every configured stream."""
    for stream_id, stream in config.streams.items():
        yield _check(stream_id, stream)


def _check(stream_id: str, stream: StreamConfig) -> Finding:
    address = stream.url
    if address.scheme == "whip":
        return Finding(Level.OK, "stream", f"{stream_id}: waits for a publisher")
    try:
        make_source(stream_id, stream)  # opens nothing
    except ConfigError as error:
        return Finding(Level.MISSING, "stream", str(error), "masklet run refuses it")
    if address.scheme == "file":
        return _check_path(stream_id, address.path)
    if address.scheme == "synthetic":
        return Finding(Level.OK, "stream", f"{stream_id}: rendered here")
    if address.scheme in ("udp", "rtp", "srt") or not address.host:
        return Finding(Level.OK, "stream", f"{stream_id}: is tried by a running daemon only")
    return _check_port(stream_id, address)


def _check_path(stream_id: str, path: str) -> Finding:
    if not os.path.exists(path):
        advice = "check the path"
        return Finding(Level.MISSING, "stream", f"{stream_id}: {path} does not exist", advice)
    if not os.access(path, os.R_OK):
        advice = "let this user read it (cameras belong to the group video)"
        return Finding(Level.MISSING, "stream", f"{stream_id}: {path} cannot be read", advice)
    return Finding(Level.OK, "stream", f"{stream_id}: {path} exists")


def _check_port(stream_id: str, address: Address) -> Finding:
    _, host, port = address.place
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        socket.create_connection((host, port), CONNECT_TIMEOUT_S).close()
    except (OSError, UnicodeError) as error:
        # Not a fault of this machine, and the daemon retries.
        return Finding(
            Level.NOTE,
            "stream",
            f"{stream_id}: {where} does not answer: {getattr(error, 'strerror', None) or error}",
            "check the camera, the address and firewalls; masklet run keeps trying",
        )
    return Finding(Level.OK, "stream", f"{stream_id}: {where} answers")
