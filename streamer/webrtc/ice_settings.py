"""The settings of an ICE agent, and of what is signalled to peers, from the configuration."""

from __future__ import annotations

import base64
import hmac
import time
from dataclasses import dataclass, field
from typing import Any

from aiortc import RTCIceServer
from aiortc.rtcicetransport import connection_kwargs

from streamer.config.network import WebRTCConfig
from streamer.errors import ConfigError
from streamer.runtime.credentials import secret
from streamer.webrtc.ice_connection import LocalAddressing

# Of credentials made from a shared secret: as long as a login, and longer than most sessions. A
# TURN server looks at it when a session begins.
CREDENTIAL_LIFETIME_S = 12 * 3600


@dataclass(frozen=True, slots=True)
class IceServer:
    """A STUN or TURN server. ``time_limited``: credentials are made of ``password``."""

    url: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    time_limited: bool = False

    def credentials(self) -> tuple[str | None, str | None]:
        """User name and password; time-limited ones are valid for ``CREDENTIAL_LIFETIME_S``.

        draft-uberti-behave-turn-rest-00, section 2.2; coturn's ``use-auth-secret``.
        """
        if not self.time_limited or self.password is None:
            return self.username, self.password
        username = f"{int(time.time()) + CREDENTIAL_LIFETIME_S}:{self.username}"
        digest = hmac.digest(self.password.encode(), username.encode(), "sha1")
        return username, base64.b64encode(digest).decode("ascii")


@dataclass(frozen=True, slots=True)
class IceSettings:
    """The servers to ask (none by default) and how this machine is reached."""

    addressing: LocalAddressing = field(default_factory=LocalAddressing)
    servers: tuple[IceServer, ...] = ()

    @property
    def server_options(self) -> dict[str, Any]:
        """Those of ``aioice.Connection``, which asks one STUN and one TURN server, the first."""
        servers = []
        for server in self.servers:
            username, password = server.credentials()
            servers.append(RTCIceServer(server.url, username=username, credential=password))
        return connection_kwargs(servers)

    @property
    def links(self) -> tuple[tuple[str, str], ...]:
        """The header fields with which WHIP and WHEP give a peer the servers (RFC 9725, 4.6)."""
        return tuple(("Link", _link(each.url, *each.credentials())) for each in self.servers)


def ice_settings(config: WebRTCConfig) -> IceSettings:
    """The settings, with the servers' passwords read now.

    Raises ``ConfigError`` for a password that is not there, or a server that cannot be used.
    """
    servers = []
    for index, server in enumerate(config.ice_servers):
        key = f"webrtc.ice_servers[{index}]"
        password = secret(key, password_env=server.password_env, password_file=server.password_file)
        servers.append(IceServer(server.url, server.username, password, server.shared_secret))
    settings = IceSettings(
        LocalAddressing(config.port_minimum, config.port_maximum, config.advertised_address),
        tuple(servers),
    )
    try:
        _ = settings.server_options
    except ValueError as error:
        raise ConfigError(f"webrtc.ice_servers: {error}") from error
    return settings


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
