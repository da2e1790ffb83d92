"""Whether what the streams of a configuration point at is there: files, devices, open ports.

Nothing is decoded and nobody logs in: a camera that answers may still refuse the password.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

from streamer.cli.doctor.findings import (
    Finding,
    Level,
)
from streamer.config.schema import MaskletConfig

CONNECT_TIMEOUT_S = 3.0
# Of those that are reached by TCP; the others are listened for, or are no network at all.
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
    """A line for every stream that is configured."""
    for stream_id, stream in config.streams.items():
        yield _check(stream_id, stream.url.strip())


def _check(stream_id: str, url: str) -> Finding:
    scheme, separator, _ = url.partition("://")
    scheme = scheme.lower() if separator else "file"
    if scheme == "file":
        return _check_path(stream_id, unquote(urlsplit(url).path) if separator else url)
    if scheme in DEFAULT_PORTS:
        return _check_port(stream_id, url, DEFAULT_PORTS[scheme])
    what = "rendered here" if scheme == "synthetic" else f"{scheme}: waits for what is sent here"
    return Finding(Level.OK, "stream", f"{stream_id}: {what}")


def _check_path(stream_id: str, path: str) -> Finding:
    if not os.path.exists(path):
        advice = "the path is taken from where masklet runs; give a whole one"
        return Finding(Level.MISSING, "stream", f"{stream_id}: {path} is not there", advice)
    if not os.access(path, os.R_OK):
        advice = "let this user read it (cameras belong to the group video)"
        return Finding(Level.MISSING, "stream", f"{stream_id}: {path} cannot be read", advice)
    return Finding(Level.OK, "stream", f"{stream_id}: {path} is there")


def _check_port(stream_id: str, url: str, default: int) -> Finding:
    address = urlsplit(url)
    host, port = address.hostname or "", address.port or default
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        socket.create_connection((host, port), CONNECT_TIMEOUT_S).close()
    except OSError as error:
        # No fault of this machine, and the daemon tries again by itself.
        return Finding(
            Level.NOTE,
            "stream",
            f"{stream_id}: {where} does not answer: {error.strerror or error}",
            "is the camera on, the address right, a firewall between? masklet run keeps trying",
        )
    return Finding(Level.OK, "stream", f"{stream_id}: {where} answers")
