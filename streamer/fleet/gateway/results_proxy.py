"""Results of every worker on one ZeroMQ endpoint: ``zmq.proxy`` between XSUB and XPUB.

A subscription goes to every worker, so that what nobody subscribes to is not encoded, and a late
joiner gets its replay. A message passes unchanged: its publisher is the worker that sent it.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import zmq
import zmq.asyncio

from streamer.config.schema import ZeroMQConfig
from streamer.fleet.view import FleetView, WorkerAccess, WorkerState
from streamer.runtime.sockets import notice_dead_peers
from streamer.runtime.threads import report_failure, start_thread
from streamer.sinks.zeromq.bind import bind_socket, check_bind, is_ipv6
from streamer.sinks.zeromq.bound_socket import HANDSHAKE_TIMEOUT_MS
from streamer.sinks.zeromq.connection_limit import ConnectionLimit
from streamer.sinks.zeromq.connections import Connections
from streamer.sinks.zeromq.curve_gate import CurveGate, make_gate
from streamer.sinks.zeromq.inbound_limit import limit_inbound, received_bytes, sent_too_much

CHECK_INTERVAL_S = 0.1
# Of the folder of allowed keys.
REVOKED_INTERVAL_S = 1.0
# A connection that sent no more than ZMTP's greeting has not subscribed (RFC 23).
GREETING_BYTES = 64
_STEER = "inproc://masklet-steer"
_CONNECTED = (WorkerState.STARTING, WorkerState.READY, WorkerState.DRAINING)
_log = logging.getLogger(__name__)


class ResultsProxy:
    """Both sockets live in one thread, in C; this class is used on the event loop.

    Bounds: ``high_water_mark`` messages wait for a subscriber and from a worker; policy: the newest
    is dropped for this one, whose ``Subscriber`` counts it. No subscriber delays another.
    """

    def __init__(self, config: ZeroMQConfig) -> None:
        """Not bound yet. Raises ``ConfigError`` and ``SecurityError`` as a publisher does."""
        self._config = config
        self._is_encrypted = not (
            config.server_key_file is None and config.client_keys_directory is None
        )
        check_bind(config.endpoint, self._is_encrypted)
        self._context = zmq.asyncio.Context()
        self._front: zmq.asyncio.Socket = self._context.socket(zmq.XPUB)
        plain: zmq.Context[zmq.Socket[bytes]] = zmq.Context.shadow(self._context.underlying)
        self._back = plain.socket(zmq.XSUB)
        self._steered, self._steering = plain.socket(zmq.PAIR), plain.socket(zmq.PAIR)
        for each in (self._front, self._back, self._steered, self._steering):
            each.linger = 0
        # Every subscription, and every end of one: the workers see late joiners, and encode
        # nothing once the last one is gone.
        self._front.setsockopt(zmq.XPUB_VERBOSER, 1)
        self._front.sndhwm = config.high_water_mark
        self._front.setsockopt(zmq.IPV6, int(is_ipv6(config.endpoint)))
        self._front.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_TIMEOUT_MS)
        notice_dead_peers(self._front)
        limit_inbound(self._front)
        self._back.rcvhwm = config.high_water_mark
        self._back.setsockopt(zmq.IPV6, 1)
        notice_dead_peers(self._back)
        self._connections = Connections(self._front)
        self._limit = ConnectionLimit(
            self._connections, config.max_connections, config.max_connections_per_address
        )
        self._gate: CurveGate | None = None
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._connected: dict[str, tuple[str, str | None]] = {}
        self._ended: asyncio.Future[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self.endpoint = config.endpoint

    async def start(self) -> None:
        """Bind and begin. Raises ``SecurityError`` and ``ConfigError``."""
        config = self._config
        if self._is_encrypted:
            self._gate = make_gate(
                self._context, self._front, config.server_key_file, config.client_keys_directory
            )
            self._gate.start()
        bind_socket(self._front, config.endpoint)
        self.endpoint = self._front.getsockopt_string(zmq.LAST_ENDPOINT)
        self._connections.port()  # before another thread has the socket
        self._steered.bind(_STEER)
        self._steering.connect(_STEER)
        self._ended = asyncio.wrap_future(start_thread("fleet-results", self._run))
        self._watching = asyncio.create_task(self._watch(), name="fleet-results-watch")
        self._watching.add_done_callback(report_failure)
        suffix = " (CURVE, keys of the allow-list only)" if self._is_encrypted else ""
        _log.info("results of the fleet are published on %s%s", self.endpoint, suffix)

    def follow(self, view: FleetView, access: WorkerAccess) -> None:
        """Connect to the workers that came and disconnect from those that went."""
        wanted = {
            each.worker_id: (each.zeromq, each.server_key)
            for each in view.workers
            if each.zeromq is not None and each.state in _CONNECTED
        }
        for worker_id, (endpoint, key) in list(self._connected.items()):
            if wanted.get(worker_id) != (endpoint, key):
                del self._connected[worker_id]
                self._work.put(partial(self._disconnect, endpoint))
        for worker_id, (endpoint, key) in wanted.items():
            if worker_id not in self._connected:
                self._connected[worker_id] = (endpoint, key)
                self._work.put(partial(self._connect, endpoint, key, access))
        if not self._work.empty():
            self._interrupt()

    async def close(self) -> None:
        """End the proxy and release everything."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait({self._watching})
        if self._ended is not None:
            self._work.put(None)
            self._interrupt()
            await asyncio.wait({self._ended})
        self._connections.close()
        for each in (self._front, self._back, self._steered, self._steering):
            each.close(linger=0)
        if self._gate is not None:
            await self._gate.stop()
        await asyncio.to_thread(self._context.term)

    # In the proxy's thread.

    def _run(self) -> None:
        front: zmq.Socket[bytes] = zmq.Socket.shadow(self._front.underlying)
        while True:
            zmq.proxy_steerable(front, self._back, None, self._steered)
            while not self._work.empty():
                work = self._work.get()
                if work is None:
                    return
                work()

    def _connect(self, endpoint: str, key: str | None, access: WorkerAccess) -> None:
        self._back.curve_server = False  # no mechanism: that of the last connection stays set
        if key is not None and access.client_public_key and access.client_secret_key:
            self._back.curve_serverkey = key.encode()
            self._back.curve_publickey = access.client_public_key.encode()
            self._back.curve_secretkey = access.client_secret_key.encode()
        self._back.connect(endpoint)

    def _disconnect(self, endpoint: str) -> None:
        with suppress(zmq.ZMQError):  # of an address that was never reached
            self._back.disconnect(endpoint)

    # On the event loop.

    def _interrupt(self) -> None:
        """Let the thread do what waits for it; the sockets, and what is in them, stay."""
        self._steering.send(b"TERMINATE")

    async def _watch(self) -> None:
        """End connections that are too many or send too much, and those of revoked keys.

        The proxy shows no messages, so which key came over which connection is not known: when a
        key is taken off the list, all connections end, and those still allowed are back at once.
        """
        read_monotonic_s = time.monotonic()
        while True:
            await self._connections.wait(CHECK_INTERVAL_S)
            self._connections.update()
            for connection, handle in self._connections.open():
                with suppress(OSError):  # it ended meanwhile
                    connection.message_bytes = max(0, received_bytes(handle) - GREETING_BYTES)
                    if sent_too_much(connection, handle, self._config.subscription_kib * 1024):
                        self._connections.end(connection)
            for connection in self._limit.surplus():
                self._connections.end(connection)
            now_s = time.monotonic()
            if self._gate is not None and now_s - read_monotonic_s >= REVOKED_INTERVAL_S:
                read_monotonic_s = now_s
                if self._gate.revoked():
                    _log.warning("a key is no longer on the allow-list: every client connects anew")
                    for connection in self._connections:
                        self._connections.end(connection)
            await asyncio.sleep(CHECK_INTERVAL_S / 20)
