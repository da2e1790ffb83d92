"""The settings of an ICE agent, and of what is signalled to peers, from the configuration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from aiortc import RTCIceServer
from aiortc.rtcicetransport import connection_kwargs

from streamer.config.network import WebRTCConfig
from streamer.errors import ConfigError
from streamer.runtime.credentials import secret
from streamer.webrtc.ice_connection import LocalAddressing


@dataclass(frozen=True, slots=True)
class IceSettings:
    """The servers to ask (none by default) and how this machine is reached.

    ``server_options`` are those of ``aioice.Connection``; ``links`` are the header fields with
    which WHIP and WHEP signal the servers to a peer (RFC 9725, section 4.6).
    """

    addressing: LocalAddressing = field(default_factory=LocalAddressing)
    server_options: dict[str, Any] = field(default_factory=dict, repr=False)
    links: tuple[tuple[str, str], ...] = field(default=(), repr=False)


def ice_settings(config: WebRTCConfig) -> IceSettings:
    """The settings, with the servers' passwords read now.

    Raises ``ConfigError`` for a password that is not there, or a server that cannot be used.
    """
    servers = []
    links = []
    for index, server in enumerate(config.ice_servers):
        key = f"webrtc.ice_servers[{index}]"
        password = secret(key, password_env=server.password_env, password_file=server.password_file)
        servers.append(RTCIceServer(urls=server.url, username=server.username, credential=password))
        links.append(("Link", _link(server.url, server.username, password)))
    return IceSettings(
        addressing=LocalAddressing(
            config.port_minimum, config.port_maximum, config.advertised_address
        ),
        server_options=_server_options(servers),
        links=tuple(links),
    )


def _server_options(servers: Sequence[RTCIceServer]) -> dict[str, Any]:
    """aioice asks one STUN and one TURN server: the first of each."""
    try:
        return connection_kwargs(list(servers))
    except ValueError as error:
        raise ConfigError(f"webrtc.ice_servers: {error}") from error


def _link(url: str, username: str | None, password: str | None) -> str:
    link = f'<{url}>; rel="ice-server"'
    if username is not None and password is not None:
        link += (
            f"; username={_quoted(username)}; credential={_quoted(password)}"
            '; credential-type="password"'
        )
    return link


def _quoted(text: str) -> str:
    """A quoted string of a header field (RFC 9110, section 5.6.4)."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
