"""The start of the daemon until torch is loaded: log, signals, and whether its addresses are free.

Loading torch and the model takes seconds. What an operator must know comes before that.
"""

from __future__ import annotations

import errno
import importlib.metadata
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from streamer.config.control_endpoint import (
    control_path,
    default_places,
    passed_over,
    why_foreign,
    why_not,
)
from streamer.config.schema import MaskletConfig
from streamer.errors import ConfigError
from streamer.runtime.logs import configure_logging
from streamer.runtime.private_files import why_readable
from streamer.runtime.sockets import check_socket_path, tcp_endpoint, why_no_listener

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_log = logging.getLogger(__name__)


def begin(config: MaskletConfig) -> bool:
    """Begin the log, and check the addresses; False if the daemon cannot start, which is logged."""
    configure_logging(config.log.level, config.log.format)
    for name in STOP_SIGNALS:  # until the model is loaded, there is nothing to shut down
        signal.signal(name, lambda *_: sys.exit(0))
    _log.info(
        "masklet %s starts, with the model %s on %s",
        importlib.metadata.version("masklet"),
        config.model.checkpoint or config.model.name,
        ", ".join(config.model.devices) or config.model.device,
    )
    for reason in passed_over(config.control.endpoint):
        _log.warning("control.endpoint: %s", reason)
    for key, path in password_files(config):
        if (problem := why_readable(path)) is not None:
            _log.warning("%s: %s", key, problem)
    problems = list(taken_addresses(config))
    try:
        require_temporary_folder()
    except ConfigError as error:
        problems.append(str(error))
    for line in problems:
        _log.error("%s", line)
    return not problems


def require_temporary_folder() -> None:
    """Raise ``ConfigError`` without a folder for temporary files, which torch needs too."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        raise ConfigError(
            "no folder for temporary files can be written (/tmp, /var/tmp, the working folder): "
            "set TMPDIR to one that can"
        ) from None


def password_files(config: MaskletConfig) -> Iterator[tuple[str, Path]]:
    """The key and path of each file that holds a password."""
    for stream_id, stream in config.streams.items():
        if stream.password_file is not None:
            yield f"streams.{stream_id}.password_file", Path(stream.password_file)
    for index, server in enumerate(config.webrtc.ice_servers):
        if server.password_file is not None:
            yield f"webrtc.ice_servers[{index}].password_file", Path(server.password_file)


def listeners(config: MaskletConfig) -> Iterator[tuple[str, str, int]]:
    """The key, host and port of each address that the daemon listens at; 0 is any free port."""
    address = tcp_endpoint(config.zeromq.endpoint)
    if address is not None:
        yield "zeromq.endpoint", *address
    if config.metrics.enabled:
        yield "metrics.port", config.metrics.host, config.metrics.port
    if config.api.enabled:
        yield "api.port", config.api.host, config.api.port


def taken_addresses(config: MaskletConfig) -> Iterator[str]:
    """Why the daemon cannot listen at its addresses, one line each."""
    for key, host, port in listeners(config):
        if (reason := why_no_listener(host, port)) is not None:
            is_taken = reason == os.strerror(errno.EADDRINUSE)
            advice = f"choose another {key if is_taken else 'address'}"
            if is_taken:
                advice = f"is masklet running already? Otherwise {advice}"
            yield f"{key}: cannot listen on {host}:{port} ({reason}); {advice}"
    if (problem := control_problem(config)) is not None:
        yield problem


def control_problem(config: MaskletConfig) -> str | None:
    """Why the daemon cannot listen at its control socket; None: it can."""
    endpoint = config.control.endpoint
    path = control_path(endpoint)
    if path in default_places() and (reason := why_not(path.parent)) is not None:
        return (
            f"control.endpoint: no default folder can be used: {path.parent}: {reason}; set "
            "control.endpoint=ipc:///FOLDER/control.sock in a folder of this user"
        )
    if (reason := why_foreign(path.parent)) is not None:
        return (
            f"control.endpoint: {path.parent} must be a folder of this user alone, and {reason}; "
            "choose another one"
        )
    there = next(each for each in path.parents if os.path.lexists(each))
    if not os.access(there, os.W_OK | os.X_OK):
        return f"control.endpoint: {there} cannot be written; choose another path"
    try:
        check_socket_path(f"control.endpoint {endpoint}", path)
    except ConfigError as error:
        return str(error)
    return None
