"""Checks the sources of the configured streams: files, devices, open ports.

It neither decodes nor logs in: a camera that answers may still refuse the password.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

from streamer.cli.doctor.findings import Finding, Level
from streamer.config.paths import local_path
from streamer.config.schema import MaskletConfig

CONNECT_TIMEOUT_S = 3.0
# Of the schemes that connect by TCP; the others listen, or need no network.
DEFAULT_PORTS = {
    "rtsp": 554,
    "rtsps": 322,
    "http": 80,
    "https": 443,
    "rtmp": 1935,
    "rtmps": 443,
    "whep": 80,
    "wheps": 443,
}


def check_streams(config: MaskletConfig) -> Iterator[Finding]:
    """A finding for every configured stream."""
    for stream_id, stream in config.streams.items():
        yield _check(stream_id, stream.url.strip())


def _check(stream_id: str, url: str) -> Finding:
    path = local_path(url)
    if path is not None:
        return _check_path(stream_id, path)
    scheme = url.partition("://")[0].lower()
    if scheme in DEFAULT_PORTS:
        return _check_port(stream_id, url, DEFAULT_PORTS[scheme])
    what = "rendered here" if scheme == "synthetic" else f"{scheme}: waits for a publisher"
    return Finding(Level.OK, "stream", f"{stream_id}: {what}")


def _check_path(stream_id: str, path: str) -> Finding:
    if not os.path.exists(path):
        advice = "check the path"
        return Finding(Level.MISSING, "stream", f"{stream_id}: {path} does not exist", advice)
    if not os.access(path, os.R_OK):
        advice = "let this user read it (cameras belong to the group video)"
        return Finding(Level.MISSING, "stream", f"{stream_id}: {path} cannot be read", advice)
    return Finding(Level.OK, "stream", f"{stream_id}: {path} exists")


def _check_port(stream_id: str, url: str, default: int) -> Finding:
    address = urlsplit(url)
    host, port = address.hostname or "", address.port or default
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        socket.create_connection((host, port), CONNECT_TIMEOUT_S).close()
    except OSError as error:
        # Not a fault of this machine, and the daemon retries.
        return Finding(
            Level.NOTE,
            "stream",
            f"{stream_id}: {where} does not answer: {error.strerror or error}",
            "check the camera, the address and firewalls; masklet run keeps trying",
        )
    return Finding(Level.OK, "stream", f"{stream_id}: {where} answers")
