"""The settings of what others reach over HTTP and WebRTC: API, tokens, limits, pictures."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from streamer.config.messages import WrongSettingError
from streamer.config.paths import FilePath
from streamer.config.section import Section
from streamer.runtime.address import SCHEMES
from streamer.runtime.sockets import is_loopback

_HOST_NAME = re.compile(
    r"(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?"
    r"(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?"
)
_Origin = Annotated[
    str,
    Field(
        pattern=r"^https?://[^/\s*]+$",
        description="https://HOST[:PORT] (or http://…), without a path and never '*'",
    ),
]


# The log's names for requests without a token.
RESERVED_NAMES = ("anonymous", "unrestricted", "owner")
TokenScope = Literal["read", "control", "publish"]
_StreamPattern = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9*][A-Za-z0-9_*-]{0,63}$",
        description="a stream id, in which '*' stands for any text, such as yard-*",
    ),
]


class TokenConfig(Section):
    """One bearer token and what it may do.

    ``read`` sees everything, ``control`` changes streams and objects (and reads), ``publish``
    sends a camera by WHIP. With ``streams`` it does so for these only: ids, in which ``*`` stands
    for any text. The token itself comes from an environment variable or a file.
    """

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$",
        description="1 to 64 letters, digits, '-', '_' or '.'",
    )
    scopes: list[TokenScope] = Field(default=[])
    streams: list[_StreamPattern] | None = None
    token_env: str | None = None
    token_file: FilePath | None = None

    @model_validator(mode="after")
    def _can_be_used(self) -> Self:
        if self.name in RESERVED_NAMES:
            raise WrongSettingError(
                f"must be another: the log calls requests without a token {self.name}", "name"
            )
        if self.streams == []:
            raise WrongSettingError(
                "must name one or more streams; leave it out for all of them", "streams"
            )
        if not self.scopes:
            raise WrongSettingError("must hold one or more of read, control, publish", "scopes")
        if (self.token_env is None) == (self.token_file is None):
            raise WrongSettingError(
                "must have token_env (the name of an environment variable) or token_file, one of "
                "the two"
            )
        return self


class ApiLimitsConfig(Section):
    """Limits of the HTTP server; beyond them it answers 413, 429 or 503.

    ``requests_per_s`` and ``burst`` are per token, or per client address without one;
    ``detections_per_s`` counts messages of detections per stream.
    """

    body_bytes: int = Field(default=4_194_304, ge=1024, le=67_108_864)
    connections: int = Field(default=256, ge=1, le=10_000)
    requests_per_s: float = Field(default=50.0, ge=0.1, le=10_000)
    burst: int = Field(default=200, ge=1, le=10_000)
    open_streams: int = Field(default=32, ge=1, le=1000)
    detections_per_s: float = Field(default=60.0, ge=0.1, le=10_000)


class ApiConfig(Section):
    """The HTTP server: control API, live page, health and metrics, on one port.

    Loopback is open without a token; any other ``host`` is refused unless ``tokens`` are given.
    ``tls_certificate`` and ``tls_key`` are PEM files, ``self_signed`` makes a pair and keeps it.
    ``url_schemes`` and ``url_hosts`` limit what a stream that is added over HTTP may connect to:
    hosts are names, addresses, networks (10.0.0.0/8) or ``*.example.org``; an empty list allows
    no network address at all. Pages of the ``cors_origins`` may call the API. Proxies at the
    addresses and networks of ``trusted_proxies`` name the client and the scheme of a request.
    """

    enabled: bool = True
    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65_535)
    tokens: list[TokenConfig] = Field(default=[])
    tls_certificate: FilePath | None = None
    tls_key: FilePath | None = None
    self_signed: bool = False
    cors_origins: list[_Origin] = Field(default=[])
    url_schemes: list[str] = Field(default=["rtsp", "rtsps", "whip", "whep", "wheps", "synthetic"])
    url_hosts: list[str] = Field(default=[])
    trusted_proxies: list[str] = Field(default=[])
    limits: ApiLimitsConfig = ApiLimitsConfig()

    def token_names(self, scope: TokenScope) -> list[str]:
        """The names of the tokens that may do this; ``control`` includes ``read``."""
        enough = {scope, "control"} if scope == "read" else {scope}
        tokens = self.tokens if self.enabled else []
        return [each.name for each in tokens if not enough.isdisjoint(each.scopes)]

    @field_validator("url_schemes")
    @classmethod
    def _are_schemes(cls, schemes: list[str]) -> list[str]:
        for index, scheme in enumerate(schemes):
            if scheme not in SCHEMES:
                raise WrongSettingError(
                    f"must be one of {', '.join(SCHEMES)}, got {scheme!r}", f"[{index}]"
                )
        return schemes

    @field_validator("url_hosts")
    @classmethod
    def _are_hosts(cls, hosts: list[str]) -> list[str]:
        for index, host in enumerate(hosts):
            if not _HOST_NAME.fullmatch(host) and not _is_network(host):
                raise WrongSettingError(
                    "must be a name, *.NAME, an address or a network such as 10.0.0.0/8, got "
                    f"{host!r}",
                    f"[{index}]",
                )
        return hosts

    @field_validator("trusted_proxies")
    @classmethod
    def _are_proxies(cls, proxies: list[str]) -> list[str]:
        for index, proxy in enumerate(proxies):
            if not _is_network(proxy) or proxy.endswith("/0"):
                raise WrongSettingError(
                    "must be an address or a network of proxies, such as 127.0.0.1 or "
                    f"10.0.0.0/24, got {proxy!r}",
                    f"[{index}]",
                )
        return proxies

    @model_validator(mode="after")
    def _settings_agree(self) -> Self:
        names: set[str] = set()
        for index, token in enumerate(self.tokens):
            if token.name in names:
                raise WrongSettingError(f"{token.name!r} is used twice", f"tokens[{index}].name")
            names.add(token.name)
        if self.enabled and not self.tokens and not is_loopback(self.host):
            raise WrongSettingError(
                f"{self.host!r} can be reached from other machines, and no client would have to "
                "prove who it is: give api.tokens, such as [{name: me, scopes: [control, "
                "publish], token_env: MASKLET_TOKEN}], or listen on 127.0.0.1",
                "host",
            )
        if self.trusted_proxies and not self.tokens:
            raise WrongSettingError(
                "needs api.tokens: behind a proxy, strangers come from its address",
                "trusted_proxies",
            )
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise WrongSettingError("must have both tls_certificate and tls_key, or neither")
        if self.self_signed and self.tls_certificate is not None:
            raise WrongSettingError("excludes tls_certificate: choose one of them", "self_signed")
        return self


class IceServerConfig(Section):
    """A STUN or TURN server. Only listed servers are contacted.

    With ``shared_secret`` the password is the one that a TURN server shares with us (coturn:
    ``use-auth-secret``): each peer gets credentials made of it, which end after 12 hours.
    """

    url: str = Field(
        repr=False,
        pattern=r"^(stun|stuns|turn|turns):\S+$",
        description="stun:HOST[:PORT] or turn:HOST[:PORT]",
    )
    username: str | None = None
    password_env: str | None = None
    password_file: FilePath | None = None
    shared_secret: bool = False

    @model_validator(mode="after")
    def _has_one_password(self) -> Self:
        if self.password_env and self.password_file:
            raise WrongSettingError("must not have both password_env and password_file")
        has_password = self.password_env is not None or self.password_file is not None
        if self.url.startswith("turn") and (self.username is None or not has_password):
            raise WrongSettingError(
                "must have username, and password_env or password_file, for a TURN server"
            )
        return self


class WebRTCConfig(Section):
    """Browsers and other WebRTC peers: publishing by WHIP, watching by WHEP.

    ``advertised_address`` replaces this machine's own addresses in the answer, for containers and
    address translation; media then use UDP ports of ``port_minimum``-``port_maximum`` (0: any).
    A publisher that sends no media for ``media_timeout_s`` is disconnected. ``create_streams`` lets
    a publisher with the ``publish`` scope begin a stream that is not configured: it ends
    ``end_created_after_s`` after its publisher, and is not saved, unless ``control`` changed it.
    """

    ice_servers: list[IceServerConfig] = Field(default=[])
    advertised_address: str | None = None
    port_minimum: int = Field(default=0, ge=0, le=65_535)
    port_maximum: int = Field(default=0, ge=0, le=65_535)
    media_timeout_s: float = Field(default=5.0, ge=0.5, le=300)
    publishers: int = Field(default=16, ge=0, le=64)
    viewers: int = Field(default=64, ge=0, le=1000)
    create_streams: bool = True
    end_created_after_s: float = Field(default=300.0, ge=1, le=86_400)
    start_bitrate_kbps: int = Field(default=1500, ge=100, le=20_000)
    maximum_bitrate_kbps: int = Field(default=4000, ge=100, le=50_000)

    @model_validator(mode="after")
    def _settings_agree(self) -> Self:
        lowest, highest = self.port_minimum, self.port_maximum
        if lowest > highest or (lowest == 0) != (highest == 0):
            raise WrongSettingError(
                f"must be at most port_maximum, or both 0 for any port, got {lowest} and {highest}",
                "port_minimum",
            )
        if self.advertised_address is not None and not _is_address(self.advertised_address):
            raise WrongSettingError(
                f"must be an IP address, such as 192.0.2.7, got {self.advertised_address!r}",
                "advertised_address",
            )
        if self.start_bitrate_kbps > self.maximum_bitrate_kbps:
            raise WrongSettingError(
                f"must be at most maximum_bitrate_kbps ({self.maximum_bitrate_kbps}), got "
                f"{self.start_bitrate_kbps}",
                "start_bitrate_kbps",
            )
        return self


class PictureConfig(Section):
    """The live picture; encoded once per stream and kind for all viewers.

    ``width`` is the largest width sent (smaller pictures are not scaled up), ``trail_s`` the length
    of an object's drawn path.
    """

    width: int = Field(default=1280, ge=64, le=3840)
    bitrate_kbps: int = Field(default=1500, ge=50, le=20_000)
    maximum_rate_hz: float = Field(default=30.0, ge=0.1, le=120)
    keyframe_interval_s: float = Field(default=4.0, ge=0.2, le=60)
    jpeg_quality: int = Field(default=80, ge=1, le=100)
    trail_s: float = Field(default=2.0, ge=0, le=60)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True
