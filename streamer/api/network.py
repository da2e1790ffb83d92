"""The HTTP server that others reach: at ``api.host:api.port``, with TLS where it is configured."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from starlette.types import ASGIApp

from streamer.api.server.origins import for_network
from streamer.api.server.proxies import BehindProxies, TrustedProxies
from streamer.api.server.server import HttpServer, tcp_sockets
from streamer.api.server.tls import Certificate, make_certificate
from streamer.config.network import ApiConfig
from streamer.runtime.clock import Clock
from streamer.runtime.sockets import is_loopback

CERTIFICATE_CHECK_S = 600.0
_log = logging.getLogger(__name__)


class NetworkServer:
    """``bind`` takes port and certificate, ``start`` serves, ``close`` ends within a time."""

    def __init__(
        self,
        config: ApiConfig,
        clock: Clock,
        *,
        further_names: Sequence[str] = (),
        certificate_folder: Callable[[], Path | None],
    ) -> None:
        """``further_names`` are for a certificate of our own, kept in ``certificate_folder``."""
        self._config = config
        self._clock = clock
        self._further_names = [config.host, *further_names]
        self._certificate_folder = certificate_folder
        self.certificate: Certificate | None = None
        self._sockets: list[socket.socket] = []
        self._port: int | None = None
        self._server: HttpServer | None = None

    def bind(self) -> None:
        """Take the port. Raises ``ConfigError`` when it, or the certificate, cannot be had."""
        config = self._config
        self.certificate = make_certificate(
            config,
            self._certificate_folder() if config.self_signed else None,
            self._further_names,
            self._clock,
        )
        if self.certificate is None and not is_loopback(config.host):
            _log.warning(
                "tokens and pictures pass unencrypted at %s: set api.self_signed=true, or "
                "api.tls_certificate and api.tls_key",
                config.host,
            )
        self._sockets = tcp_sockets(config.host, config.port)
        self._port = int(self._sockets[0].getsockname()[1])

    async def start(self, application: ASGIApp, *, is_open: bool) -> None:
        """Serve ``application``; ``is_open``: without tokens, to this machine's programs alone."""
        config = self._config
        proxies = TrustedProxies(config.trusted_proxies)
        network = for_network(
            application,
            cors_origins=[origin.lower() for origin in config.cors_origins],
            only_host=config.host if is_open else None,
        )
        self._server = HttpServer(
            BehindProxies(network, None if is_open else proxies),
            self._sockets,
            connections=config.limits.connections,
            proxies=proxies,
            tls=None if self.certificate is None else self.certificate.context,
        )
        await self._server.start()

    @property
    def port(self) -> int | None:
        """The port that is really used, once bound."""
        return self._port

    @property
    def endpoint(self) -> str | None:
        """The page's address, once bound."""
        if self._port is None:
            return None
        host = self._config.host
        if host in ("", "0.0.0.0", "::"):
            host = socket.gethostname()
        elif ":" in host:
            host = f"[{host}]"
        return f"{'http' if self.certificate is None else 'https'}://{host}:{self._port}"

    async def run(self) -> None:
        """Serve and check the certificate for renewal, until cancelled."""
        assert self._server is not None, "the server was not started"
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._server.run())
            if self.certificate is not None:
                tasks.create_task(self._refresh(self.certificate))

    async def close(self, timeout_s: float) -> None:
        """End all connections, within ``timeout_s``."""
        if self._server is not None:
            await self._server.close(timeout_s)
        for each in self._sockets:
            each.close()

    async def _refresh(self, certificate: Certificate) -> None:
        while True:
            await asyncio.sleep(CERTIFICATE_CHECK_S)
            await asyncio.to_thread(certificate.refresh)
