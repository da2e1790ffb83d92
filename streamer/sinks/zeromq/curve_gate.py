"""CURVE on the publisher's socket: encryption, and ZAP (ZeroMQ RFC 27) checking the allow-list."""

from __future__ import annotations

import asyncio
import logging
import time

import zmq
import zmq.asyncio
from zmq.auth import Authenticator

from streamer.errors import SecurityError
from streamer.runtime.curve_keys import AllowList, KeyPair, load_server_keys
from streamer.runtime.threads import report_failure

# The socket names its domain and the authenticator answers for it: they must be equal.
ZAP_DOMAIN = "masklet"
REPORT_INTERVAL_S = 10.0
_log = logging.getLogger(__name__)


class CurveGate:
    """Lets only the clients of an allow-list connect to one socket.

    ``start`` and ``stop`` are called on the event loop; a context has one gate.
    """

    def __init__(
        self,
        context: zmq.asyncio.Context,
        socket: zmq.asyncio.Socket,
        server_keys: KeyPair,
        allowed: AllowList,
    ) -> None:
        """Make ``socket``, not bound yet, a CURVE server."""
        self.allowed = allowed
        # Keys that were let in. Bound: those of the list, until ``revoked`` returns them.
        self._let_in: set[bytes] = set()
        self._missing: frozenset[bytes] = frozenset()
        self._denied = 0
        self._reported_monotonic_s = -REPORT_INTERVAL_S
        self._authenticator = Authenticator(context)
        self._answering: asyncio.Task[None] | None = None
        socket.curve_server = True
        socket.curve_publickey = server_keys.public
        socket.curve_secretkey = server_keys.secret
        socket.zap_domain = ZAP_DOMAIN.encode()

    def start(self) -> None:
        """Start answering; before the socket is bound."""
        self._authenticator.configure_curve_callback(ZAP_DOMAIN, self)
        self._authenticator.start()
        self._answering = asyncio.create_task(self._answer(), name="zeromq-allow-list")
        self._answering.add_done_callback(report_failure)

    async def stop(self) -> None:
        """Stop answering; after the socket was closed."""
        if self._answering is not None:
            self._answering.cancel()
            await asyncio.wait({self._answering})
        self._authenticator.stop()

    def revoked(self) -> frozenset[bytes]:
        """Keys that were let in and are no longer on the list, each once.

        A key counts as removed when it was missing twice in a row: a file or folder that is being
        replaced disconnects no client.
        """
        missing = self.allowed.missing(self._let_in)
        revoked, self._missing = missing & self._missing, missing
        self._let_in -= revoked
        return revoked

    async def _answer(self) -> None:
        """Answer every request, whatever becomes of one: who is not answered cannot subscribe."""
        requests = self._authenticator.zap_socket
        poller = zmq.asyncio.Poller()
        poller.register(requests, zmq.POLLIN)
        while True:
            await poller.poll()
            request = requests.recv_multipart()
            try:
                await self._authenticator.handle_zap_message(request)
            except (OSError, ValueError):
                _log.exception("the allow-list could not answer a client, which is refused")
                # Version, the request's number, status, text, user and metadata (RFC 27).
                requests.send_multipart([b"1.0", request[1], b"500", b"", b"", b""])

    def callback(self, domain: str, key: bytes) -> bool:  # noqa: ARG002 - pyzmq's protocol
        """Whether the client with this public key (Z85) may connect; called by pyzmq."""
        if self.allowed.allows(key):
            self._let_in.add(key)
            return True
        self._denied += 1
        now_s = time.monotonic()
        if now_s - self._reported_monotonic_s >= REPORT_INTERVAL_S:
            _log.warning(
                "a client whose key is not on the allow-list was refused (public key %s; %d "
                "attempts since the last report)",
                key.decode(errors="replace"),
                self._denied,
            )
            self._denied = 0
            self._reported_monotonic_s = now_s
        return False


def make_gate(
    context: zmq.asyncio.Context,
    socket: zmq.asyncio.Socket,
    server_key_file: str | None,
    client_keys_directory: str | None,
) -> CurveGate:
    """A gate with the keys of these files. Raises ``SecurityError`` for one that is unusable."""
    if server_key_file is None or client_keys_directory is None:
        missing = "server_key_file" if server_key_file is None else "client_keys_directory"
        raise SecurityError(
            f"zeromq.{missing} is not set: encryption needs zeromq.server_key_file and "
            "zeromq.client_keys_directory; `masklet keys KEYS --client NAME` makes both"
        )
    allowed = AllowList(client_keys_directory)
    return CurveGate(context, socket, load_server_keys(server_key_file), allowed)
