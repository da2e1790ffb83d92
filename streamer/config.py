"""Every setting of the daemon, as typed sections with their defaults and limits.

The dataclasses say what a setting means, what it is when nobody sets it, and what it may be;
``config_values`` turns plain mappings into them and checks the limits, ``config_loading``
composes the mappings from the shipped files, a user's file and the command line.
"""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from streamer.config_values import check_limits, one_of_forms, ranged
from streamer.errors import ConfigError
from tracker.config import PRESETS

MaskEncoding = Literal["rle", "bits", "polygon", "none"]
Transport = Literal["tcp", "udp"]

STREAM_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
# Characters that every program can show: neither control characters nor half of a surrogate pair.
LABEL_PATTERN = r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,128}"
STREAM_ID_RULE = "1 to 64 letters, digits, '-' or '_', beginning with a letter or digit"
URL_SCHEMES = (
    "rtsp", "rtsps", "http", "https", "srt", "rtmp", "rtmps", "rtp", "udp", "tcp", "file",
    "synthetic",
)  # fmt: skip
URL_RULE = (
    ", ".join(f"{scheme}://…" for scheme in URL_SCHEMES)
    + ", a path of a video file or a device such as /dev/video0"
)


def default_control_endpoint() -> str:
    """Where the control socket lies: a folder that only this user may enter."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    folder = (
        Path(runtime) / "masklet"
        if runtime
        else Path(tempfile.gettempdir()) / f"masklet-{os.getuid()}"
    )
    return f"ipc://{folder / 'control.sock'}"


@dataclass(slots=True)
class ReconnectConfig:
    """Waits between attempts: ``initial_s · factorⁿ`` up to ``maximum_s``, ± ``jitter``.

    A connection that lived for ``reset_after_s`` starts the series again.
    """

    initial_s: float = ranged(1.0, 0.05, 3600)
    maximum_s: float = ranged(60.0, 0.05, 86_400)
    factor: float = ranged(2.0, 1, 10)
    jitter: float = ranged(0.2, 0, 1)
    reset_after_s: float = ranged(30.0, 0, 86_400)


@dataclass(slots=True)
class ObjectConfig:
    """An object to follow from the start: points, a box, both, or a mask, in source pixels.

    ``point_labels`` holds 1 for a point on the object and 0 for a point beside it; left out,
    every point lies on the object. ``box`` is x0, y0, x1, y1, half-open. ``mask_file`` is a
    picture in which everything that is not black is the object.
    """

    id: int = ranged(0, 2**31 - 1)
    label: str | None = one_of_forms(
        None, LABEL_PATTERN, "1 to 128 characters, none of them a control character"
    )
    points: list[list[float]] = field(default_factory=list)
    point_labels: list[int] = field(default_factory=list)
    box: list[float] | None = None
    mask_file: str | None = None
    at_frame: int = ranged(0, 0, 2**53)


@dataclass(slots=True)
class StreamConfig:
    """One camera, file or scene, and the objects to follow on it.

    ``paced`` plays a file in real time (frames that come too fast are dropped as on a camera);
    without it every frame of the file is tracked, as fast as the model allows. A camera's own
    clock is used where it is within ``clock_tolerance_s`` of ours. ``options`` go to FFmpeg as
    they are.
    """

    url: str
    transport: Transport = "tcp"
    open_timeout_s: float = ranged(10.0, 0.1, 300)
    read_timeout_s: float = ranged(5.0, 0.1, 300)
    clock_tolerance_s: float = ranged(10.0, 0, 86_400)
    max_rate_hz: float | None = ranged(None, 0.01, 1000)
    username_env: str | None = None
    password_env: str | None = None
    password_file: str | None = None
    paced: bool = True
    loop: bool = False
    max_objects: int = ranged(16, 1, 64)
    objects: list[ObjectConfig] = field(default_factory=list)
    reconnect: ReconnectConfig = field(default_factory=ReconnectConfig)
    options: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class ModelSection:
    """Which network runs, and where. ``checkpoint`` is a file; without it the name decides.

    ``threads`` is the number of CPU threads of the model; 0 leaves the choice to torch.
    """

    name: str = "nano"
    checkpoint: str | None = None
    device: str = one_of_forms(
        "auto", r"auto|cpu|mps|cuda(:\d{1,2})?", "auto, cpu, mps, cuda or cuda:N"
    )
    threads: int = ranged(0, 0, 256)


@dataclass(slots=True)
class TrackingConfig:
    """How objects are followed. ``max_objects`` is for the whole process: memory is fixed by it."""

    max_objects: int = ranged(64, 1, 1024)
    memory_policy: Literal["sam2"] = "sam2"
    fill_hole_area: int = ranged(0, 0, 64)
    non_overlap: bool = False
    occluded_to_lost_s: float = ranged(5.0, 0, 86_400)


@dataclass(slots=True)
class ZeroMQConfig:
    """The publisher. ``high_water_mark`` counts messages waiting per subscriber, no more.

    ``server_key_file`` and ``client_keys_directory`` (an allow-list) switch encryption on; an
    address that others can reach is refused without them.
    """

    endpoint: str = one_of_forms(
        "tcp://127.0.0.1:5555",
        r"tcp://[^/\s]+:(\d{1,5}|\*)|ipc://.+|inproc://.+",
        "tcp://HOST:PORT or ipc:///PATH",
    )
    mask_encoding: MaskEncoding = "rle"
    high_water_mark: int = ranged(64, 1, 10_000)
    server_key_file: str | None = None
    client_keys_directory: str | None = None
    linger_ms: int = ranged(500, 0, 5000)


@dataclass(slots=True)
class MetricsConfig:
    """The Prometheus page, ``http://host:port/metrics``. Port 0 takes any free one."""

    enabled: bool = True
    host: str = "127.0.0.1"
    port: int = ranged(9464, 0, 65_535)


@dataclass(slots=True)
class ControlConfig:
    """The local command socket that ``masklet prompt``, ``remove`` and ``streams`` talk to."""

    endpoint: str = field(default_factory=default_control_endpoint)


@dataclass(slots=True)
class LogConfig:
    """How the daemon reports: one line of text or one JSON object an event, on stderr."""

    format: Literal["text", "json"] = "text"
    level: Literal["debug", "info", "warning", "error"] = "info"


@dataclass(slots=True)
class MaskletConfig:
    """The whole configuration of ``masklet run``."""

    streams: dict[str, StreamConfig] = field(default_factory=dict)
    model: ModelSection = field(default_factory=ModelSection)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    zeromq: ZeroMQConfig = field(default_factory=ZeroMQConfig)
    metrics: MetricsConfig = field(default_factory=MetricsConfig)
    control: ControlConfig = field(default_factory=ControlConfig)
    log: LogConfig = field(default_factory=LogConfig)
    max_batch_wait_ms: float = ranged(2.0, 0, 100)
    heartbeat_s: float = ranged(1.0, 0.1, 60)
    status_s: float = ranged(5.0, 0.1, 3600)
    shutdown_timeout_s: float = ranged(5.0, 0.1, 60)


def validate(config: MaskletConfig) -> None:
    """Raise ``ConfigError`` for the first value that cannot be; its message names the key."""
    check_limits(config)
    if config.model.checkpoint is None and config.model.name not in PRESETS:
        raise ConfigError(
            f"model.name must be one of {', '.join(PRESETS)}, or model.checkpoint a file, "
            f"got {config.model.name!r}"
        )
    for stream_id, stream in config.streams.items():
        _check_stream(f"streams.{stream_id}", stream_id, stream)
    starting = sum(len(stream.objects) for stream in config.streams.values())
    if starting > config.tracking.max_objects:
        raise ConfigError(
            f"tracking.max_objects must be at least {starting}, the objects configured in all "
            f"streams, got {config.tracking.max_objects}"
        )
    _check_ports(config)


def _check_stream(key: str, stream_id: str, stream: StreamConfig) -> None:
    if not STREAM_ID.fullmatch(stream_id):
        raise ConfigError(f"{key}: a stream id is {STREAM_ID_RULE}, got {stream_id!r}")
    _check_url(f"{key}.url", stream.url)
    if stream.password_env and stream.password_file:
        raise ConfigError(f"{key}.password_env and {key}.password_file: give only one of them")
    if stream.reconnect.maximum_s < stream.reconnect.initial_s:
        raise ConfigError(
            f"{key}.reconnect.maximum_s must be at least initial_s "
            f"({stream.reconnect.initial_s:g}), got {stream.reconnect.maximum_s:g}"
        )
    if len(stream.objects) > stream.max_objects:
        raise ConfigError(
            f"{key}.objects holds {len(stream.objects)} objects, "
            f"{key}.max_objects allows {stream.max_objects}"
        )
    seen: set[int] = set()
    for index, target in enumerate(stream.objects):
        _check_object(f"{key}.objects[{index}]", target)
        if target.id in seen:
            raise ConfigError(f"{key}.objects[{index}].id {target.id} is used twice")
        seen.add(target.id)


def _check_url(key: str, url: str) -> None:
    scheme, separator, _ = url.partition("://")
    if not url.strip():
        raise ConfigError(f"{key} must be {URL_RULE}; it is empty")
    if not _is_unicode(url):
        raise ConfigError(f"{key} must be text in UTF-8; rename the file, or link to it")
    if separator and scheme.lower() not in URL_SCHEMES:
        raise ConfigError(f"{key} must be {URL_RULE}, got one that begins with '{scheme}://'")


def _is_unicode(text: str) -> bool:
    """Whether other programs can be sent it: a file name of other bytes reads as surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _check_object(key: str, target: ObjectConfig) -> None:
    given = bool(target.points) or target.box is not None
    if target.mask_file is not None and given:
        raise ConfigError(f"{key}: mask_file excludes points and box")
    if target.mask_file is None and not given:
        raise ConfigError(f"{key} must have points, a box or a mask_file")
    for index, point in enumerate(target.points):
        if len(point) != 2:
            raise ConfigError(f"{key}.points[{index}] must be [x, y], got {point}")
    if target.point_labels and len(target.point_labels) != len(target.points):
        raise ConfigError(
            f"{key}.point_labels must hold one label a point ({len(target.points)}), "
            f"got {len(target.point_labels)}"
        )
    for index, label in enumerate(target.point_labels):
        if label not in (0, 1):
            raise ConfigError(
                f"{key}.point_labels[{index}] must be 1 (on the object) or 0 (beside it), "
                f"got {label}"
            )
    box = target.box
    if box is not None and (len(box) != 4 or box[0] >= box[2] or box[1] >= box[3]):
        raise ConfigError(f"{key}.box must be [x0, y0, x1, y1] with x0 < x1 and y0 < y1, got {box}")


def _check_ports(config: MaskletConfig) -> None:
    """Refuse two listeners on one address; port 0 and ``*`` take any free port."""
    control = config.control.endpoint
    if not control.startswith("ipc://"):
        raise ConfigError(
            f"control.endpoint must be ipc:///PATH (a socket that only this machine and user "
            f"reach), got {control!r}"
        )
    if len(control.removeprefix("ipc://").encode()) > 107:
        raise ConfigError(
            "control.endpoint must be a path of at most 107 bytes (a limit of Unix sockets), "
            f"got {len(control.removeprefix('ipc://').encode())}"
        )
    if control == config.zeromq.endpoint:
        raise ConfigError(f"zeromq.endpoint and control.endpoint are both {control}")
    address = urlsplit(config.zeromq.endpoint)
    if address.scheme != "tcp" or address.netloc.endswith(":*"):
        return
    try:
        port = address.port
    except ValueError:
        port = -1
    if port is None or not 0 <= port <= 65_535:
        raise ConfigError(
            f"zeromq.endpoint must have a port between 0 and 65535, got {config.zeromq.endpoint}"
        )
    metrics = config.metrics
    shared = metrics.enabled and port and port == metrics.port
    if shared and _same_address(address.hostname or "", metrics.host):
        raise ConfigError(
            f"zeromq.endpoint and metrics.port both listen on port {port}: "
            "give one of them another port"
        )


def _same_address(first: str, second: str) -> bool:
    every = {"0.0.0.0", "::", "*", ""}
    loopback = {"localhost": "127.0.0.1"}
    return (
        first in every
        or second in every
        or loopback.get(first, first) == loopback.get(second, second)
    )
