"""The HTTP API as one part of the daemon: its routes, served on a TCP port and a Unix socket."""

from __future__ import annotations

import asyncio
import logging
import socket
from pathlib import Path

from streamer.api.application import make_application
from streamer.api.context import ApiContext
from streamer.api.network import NetworkServer
from streamer.api.server.authorisation import for_owner
from streamer.api.server.control_socket import (
    REQUESTS_AT_ONCE,
    control_places,
    control_socket,
)
from streamer.api.server.login_cookie import LoginCookie
from streamer.api.server.proxies import BehindProxies
from streamer.api.server.server import HttpServer
from streamer.config.control_endpoint import control_path
from streamer.config.state_folder import AUTO, state_folder
from streamer.errors import ConfigError
from streamer.runtime.clock import Clock
from streamer.runtime.private_files import make_private_folder

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
        self._network: NetworkServer | None = None
        if self._config.api.enabled:
            advertised = self._config.webrtc.advertised_address
            self._network = NetworkServer(
                self._config.api,
                clock,
                further_names=() if advertised is None else (advertised,),
                certificate_folder=self._certificate_folder,
            )
        self._control: socket.socket | None = None
        self._control_path = control_path(self._config.control.endpoint)
        self._owners: HttpServer | None = None

    def bind(self) -> None:
        """Take the addresses and the certificate. Raises ``ConfigError`` when that fails."""
        if self._network is not None:
            self._network.bind()
        self._control = control_socket(self._config.control.endpoint)

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
        context, network = self._context, self._network
        context.cookie = LoginCookie(0 if network is None else network.port or 0)
        application = make_application(context, self._clock)
        self._owners = HttpServer(
            BehindProxies(for_owner(application), None),
            [self._control],
            connections=REQUESTS_AT_ONCE,
        )
        await self._owners.start()
        if network is not None:
            await network.start(application, is_open=context.authorisation.is_open)

    @property
    def endpoint(self) -> str | None:
        """The page's address, with the port that is really used, once bound; None without one."""
        return None if self._network is None else self._network.endpoint

    async def run(self) -> None:
        """Serve, until cancelled."""
        assert self._owners is not None, "the API was not started"
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._owners.run())
            tasks.create_task(self._keep_control(self._owners))
            if self._network is not None:
                tasks.create_task(self._network.run())

    async def close(self, timeout_s: float) -> None:
        """End all connections, within ``timeout_s``."""
        self._context.events.end_readers()
        self._context.results.end_readers()
        self._context.picture.end_watching()
        viewers = asyncio.ensure_future(self._context.whep.close())
        servers = [each for each in (self._owners, self._network) if each is not None]
        await asyncio.gather(*(server.close(timeout_s) for server in servers))
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
