"""The HTTP API as one part of the daemon: its routes, served on a TCP port and a Unix socket."""

from __future__ import annotations

import asyncio
import logging
import socket
from pathlib import Path

from streamer.api.application import make_application
from streamer.api.context import ApiContext
from streamer.api.server.authorisation import for_owner
from streamer.api.server.control_socket import (
    REQUESTS_AT_ONCE,
    control_places,
    control_socket,
)
from streamer.api.server.login_cookie import LoginCookie
from streamer.api.server.origins import for_network
from streamer.api.server.proxies import BehindProxies, TrustedProxies
from streamer.api.server.server import HttpServer, tcp_sockets
from streamer.api.server.tls import Certificate, make_certificate
from streamer.config.control_endpoint import control_path
from streamer.config.schema import MaskletConfig
from streamer.config.state_folder import AUTO, state_folder
from streamer.errors import ConfigError
from streamer.runtime.clock import Clock
from streamer.runtime.private_files import make_private_folder
from streamer.runtime.sockets import is_loopback

CERTIFICATE_CHECK_S = 600.0
CONTROL_CHECK_S = 10.0
_log = logging.getLogger(__name__)


class Api:
    """Control API, live pictures and page, at ``api.host:api.port`` and ``control.endpoint``.

    The control socket is always there, the port unless ``api.enabled`` is false. ``bind`` takes
    the addresses, ``start`` serves, ``close`` ends within a time.
    """

    def __init__(self, context: ApiContext, clock: Clock) -> None:
        self._config = context.config
        self._clock = clock
        self._context = context
        self._certificate: Certificate | None = None
        self._port: int | None = None
        self._sockets: list[socket.socket] = []
        self._control: socket.socket | None = None
        self._control_path = control_path(self._config.control.endpoint)
        self._servers: list[HttpServer] = []

    def bind(self) -> None:
        """Take the addresses and the certificate. Raises ``ConfigError`` when that fails."""
        if self._config.api.enabled:
            self._bind_port(self._config)
        self._control = control_socket(self._config.control.endpoint)

    def _bind_port(self, config: MaskletConfig) -> None:
        further_names = [config.api.host]
        if config.webrtc.advertised_address is not None:
            further_names.append(config.webrtc.advertised_address)
        self._certificate = make_certificate(
            config.api,
            self._certificate_folder() if config.api.self_signed else None,
            further_names,
            self._clock,
        )
        if self._certificate is None and not is_loopback(config.api.host):
            _log.warning(
                "tokens and pictures pass unencrypted at %s: set api.self_signed=true, or "
                "api.tls_certificate and api.tls_key",
                config.api.host,
            )
        self._sockets = tcp_sockets(config.api.host, config.api.port)
        self._port = int(self._sockets[0].getsockname()[1])

    def _certificate_folder(self) -> Path | None:
        """The state folder; None without one, of which its keeper warns."""
        config = self._config
        try:
            folder = state_folder(config.state_directory, config.control.endpoint)
            if folder is not None:
                make_private_folder("state_directory", folder)
        except ConfigError:
            if config.state_directory != AUTO:
                raise
            return None
        return folder

    async def start(self) -> None:
        """Put the routes together and serve them."""
        assert self._control is not None, "the API was not bound"
        context, api = self._context, self._config.api
        context.cookie = LoginCookie(self._port or 0)
        application = make_application(context, self._clock)
        self._servers = [
            HttpServer(
                BehindProxies(for_owner(application), None),
                [self._control],
                connections=REQUESTS_AT_ONCE,
            )
        ]
        if self._sockets:
            is_open = context.authorisation.is_open
            proxies = TrustedProxies(api.trusted_proxies)
            network = for_network(
                application,
                cors_origins=[origin.lower() for origin in api.cors_origins],
                only_host=api.host if is_open else None,
            )
            network = BehindProxies(network, None if is_open else proxies)
            tls = None if self._certificate is None else self._certificate.context
            self._servers.append(
                HttpServer(
                    network,
                    self._sockets,
                    connections=api.limits.connections,
                    proxies=proxies,
                    tls=tls,
                )
            )
        for server in self._servers:
            await server.start()

    @property
    def endpoint(self) -> str | None:
        """The page's address, with the port that is really used, once bound; None without one."""
        if self._port is None:
            return None
        host = self._config.api.host
        if host in ("", "0.0.0.0", "::"):
            host = socket.gethostname()
        elif ":" in host:
            host = f"[{host}]"
        return f"{'http' if self._certificate is None else 'https'}://{host}:{self._port}"

    async def run(self) -> None:
        """Serve and check the certificate for renewal, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for server in self._servers:
                tasks.create_task(server.run())
            tasks.create_task(self._keep_control(self._servers[0]))
            if self._certificate is not None:
                tasks.create_task(self._refresh(self._certificate))

    async def close(self, timeout_s: float) -> None:
        """End all connections, within ``timeout_s``."""
        self._context.events.end_readers()
        self._context.results.end_readers()
        self._context.picture.end_watching()
        viewers = asyncio.ensure_future(self._context.whep.close())
        await asyncio.gather(*(server.close(timeout_s) for server in self._servers))
        for each in self._sockets:
            each.close()
        if self._control is not None:  # never the socket file of another daemon
            self._control.close()
            self._control_path.unlink(missing_ok=True)
            self._control = None
        await asyncio.wait({viewers}, timeout=timeout_s)

    async def _keep_control(self, server: HttpServer) -> None:
        """Listen anew when the socket's file is gone: /run/user/UID goes when its user logs out."""
        while True:
            await asyncio.sleep(CONTROL_CHECK_S)
            if self._control_path.exists():
                continue
            for path in control_places(self._config.control.endpoint):
                try:
                    listening = control_socket(f"ipc://{path}")
                except ConfigError:
                    continue  # of a folder that cannot be made again
                await server.listen_instead(listening)
                self._control, self._control_path = listening, path
                _log.warning("the control socket was removed; commands reach it at ipc://%s", path)
                break

    async def _refresh(self, certificate: Certificate) -> None:
        while True:
            await asyncio.sleep(CERTIFICATE_CHECK_S)
            await asyncio.to_thread(certificate.refresh)
