"""The settings of what others reach over HTTP and WebRTC: API, tokens, limits and pictures."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from streamer.config.parsing import (
    ranged,
    required_form,
)


@dataclass(slots=True)
class TokenConfig:
    """One bearer token and what it may do.

    ``read`` sees everything, ``control`` changes streams and objects (and reads), ``publish``
    sends a camera by WHIP. The token itself comes from an environment variable or a file.
    """

    name: str = required_form(
        r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", "1 to 64 letters, digits, '-', '_' or '.'"
    )
    scopes: list[Literal["read", "control", "publish"]] = field(default_factory=list)
    token_env: str | None = None
    token_file: str | None = None


@dataclass(slots=True)
class ApiLimitsConfig:
    """What one client, or all of them, may ask of the HTTP server; more is refused with 413, 429
    or 503. ``requests_per_s`` and ``burst`` are for each client address, ``detections_per_s`` are
    messages of detections for each stream.
    """

    body_bytes: int = ranged(4_194_304, 1024, 67_108_864)
    connections: int = ranged(256, 1, 10_000)
    requests_per_s: float = ranged(50.0, 0.1, 10_000)
    burst: int = ranged(200, 1, 10_000)
    open_streams: int = ranged(32, 1, 1000)
    detections_per_s: float = ranged(60.0, 0.1, 10_000)


@dataclass(slots=True)
class ApiConfig:
    """The HTTP server: control API, live page, health and metrics, on one port.

    Loopback is open without a token; any other ``host`` is refused unless ``tokens`` are given.
    ``tls_certificate`` and ``tls_key`` are PEM files, ``self_signed`` makes a pair and keeps it.
    ``url_schemes`` and ``url_hosts`` say what a stream that is added over HTTP may connect to:
    hosts are names, addresses, networks (10.0.0.0/8) or ``*.example.org``; an empty list allows
    no network address at all. ``cors_origins`` are pages of other origins that may call.
    """

    enabled: bool = True
    host: str = "127.0.0.1"
    port: int = ranged(8080, 0, 65_535)
    tokens: list[TokenConfig] = field(default_factory=list)
    tls_certificate: str | None = None
    tls_key: str | None = None
    self_signed: bool = False
    cors_origins: list[str] = field(default_factory=list)
    url_schemes: list[str] = field(
        default_factory=lambda: ["rtsp", "rtsps", "whip", "whep", "wheps", "synthetic"]
    )
    url_hosts: list[str] = field(default_factory=list)
    limits: ApiLimitsConfig = field(default_factory=ApiLimitsConfig)


@dataclass(slots=True)
class IceServerConfig:
    """A STUN or TURN server; none is ever contacted that is not listed."""

    url: str = required_form(r"(stun|stuns|turn|turns):\S+", "stun:HOST[:PORT] or turn:HOST[:PORT]")
    username: str | None = None
    password_env: str | None = None
    password_file: str | None = None


@dataclass(slots=True)
class WebRTCConfig:
    """Browsers and other WebRTC peers: publishing by WHIP, watching by WHEP.

    ``advertised_address`` replaces this machine's own addresses in the answer, for containers and
    address translation; media then use UDP ports of ``port_minimum``-``port_maximum`` (0: any).
    A publisher that sends no media for ``media_timeout_s`` is gone. ``create_streams`` lets a
    publisher with the ``publish`` scope begin a stream that nobody configured.
    """

    ice_servers: list[IceServerConfig] = field(default_factory=list)
    advertised_address: str | None = None
    port_minimum: int = ranged(0, 0, 65_535)
    port_maximum: int = ranged(0, 0, 65_535)
    media_timeout_s: float = ranged(5.0, 0.5, 300)
    publishers: int = ranged(16, 0, 64)
    viewers: int = ranged(64, 0, 1000)
    create_streams: bool = True
    start_bitrate_kbps: int = ranged(1500, 100, 20_000)
    maximum_bitrate_kbps: int = ranged(4000, 100, 50_000)


@dataclass(slots=True)
class PictureConfig:
    """The live picture that is sent out; encoded once a stream and kind for all who watch.

    ``width`` is the largest width sent (smaller pictures stay as they are), ``trail_s`` how far
    back an object's way is drawn.
    """

    width: int = ranged(1280, 64, 3840)
    bitrate_kbps: int = ranged(1500, 50, 20_000)
    maximum_rate_hz: float = ranged(30.0, 0.1, 120)
    keyframe_interval_s: float = ranged(4.0, 0.2, 60)
    jpeg_quality: int = ranged(80, 1, 100)
    trail_s: float = ranged(2.0, 0, 60)
