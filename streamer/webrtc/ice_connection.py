"""The ICE agent (RFC 8445): all our code that reaches inside aioice, and why.

That is why aioice is pinned exactly. ``IceConnection`` adds what it lacks:

- a range of UDP ports and an advertised address, for containers and address translation, and the
  loopback address where there is no other;
- ICE restarts;
- bounds on datagrams that wait, on a peer's addresses and on DTLS before the handshake, and a
  check of the sender of everything that is not STUN;
- a close that also works while connecting, and the number of bytes waiting to be sent.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
import struct
from dataclasses import dataclass
from random import Random
from typing import Any, cast

import aioice
from aioice import Candidate, stun
from aioice.candidate import candidate_foundation, candidate_priority
from aioice.ice import CandidatePair, StunProtocol, server_reflexive_candidate
from aioice.turn import UDP_SOCKET_BUFFER_SIZE
from aioice.utils import random_string

# No DTLS or SRTP packet is longer. aiortc ends the connection on a longer or an empty datagram,
# although any sender can send one.
LONGEST_DATAGRAM_BYTES = 1500
# Bound on datagrams waiting for DTLS, which reads nothing before a pair is found; policy: further
# ones are dropped, as a network would.
WAITING_DATAGRAMS = 1024
# Bound: a handshake takes ten of them, more where some are lost. OpenSSL keeps whatever aiortc
# leaves unread of it, and without data channels nothing follows but a farewell; policy: as above.
DTLS_DATAGRAMS = 1000
# Bound on the peer's addresses, which it can also add by sending from them: far more than it
# may signal; policy: further ones are ignored.
REMOTE_CANDIDATES = 128
_SERVER_TIMEOUT_S = 5
_TURN_CLIENT = "_TurnTransport__inner_protocol"
_LOOPBACK = "127.0.0.1"
_STUN_FIRST_BYTES = range(4)  # RFC 7983, section 7
_PORT_TAKEN = (errno.EADDRINUSE, errno.EACCES)


@dataclass(frozen=True, slots=True)
class LocalAddressing:
    """The UDP ports to use (0 and 0: any), and the address to name instead of our own."""

    port_minimum: int = 0
    port_maximum: int = 0
    advertised_address: str | None = None


class IceConnection(aioice.Connection):
    """One ICE agent with one component. ``options`` are those of ``aioice.Connection``."""

    def __init__(self, addressing: LocalAddressing, **options: Any) -> None:
        super().__init__(ice_controlling=False, **options)
        self._addressing = addressing
        self._random = Random()
        # The pair that carries data while a restart searches for a better one.
        self._before_restart: dict[int, CandidatePair] = {}
        self._dtls_datagrams = 0

    async def get_component_candidates(
        self, component: int, addresses: list[str], timeout: int = _SERVER_TIMEOUT_S
    ) -> list[Candidate]:
        """Bind a socket for each address, then ask the configured servers, if any.

        aioice itself takes any free port. Raises ``OSError`` when no socket can be bound.
        """
        candidates = []
        protocols = []
        unusable: OSError | None = None
        for address in addresses or [_LOOPBACK]:
            try:
                protocol = await self._bind(address)
            except OSError as error:
                unusable = error
                continue
            host, port = protocol.transport.get_extra_info("sockname")[:2]
            protocol.local_candidate = _host_candidate(component, host, port)
            # At once: a cancellation at the next address closes the sockets recorded here.
            self._protocols.append(protocol)
            protocols.append(protocol)
            candidates.append(protocol.local_candidate)
        if unusable is not None and not protocols:
            raise unusable
        if self.stun_server is not None:
            candidates += await self._server_reflexive(protocols, timeout)
        advertised = self._addressing.advertised_address
        if advertised is not None:
            candidates = _advertised(candidates, advertised)
        # Without addresses of its own, aioice asks the TURN server only.
        return candidates + await super().get_component_candidates(component, [], timeout)

    async def _bind(self, address: str) -> StunProtocol:
        """A socket on ``address``; the range is tried from a random port on, each port once.

        Raises ``OSError`` when all are taken, and at once for what no other port would change.
        """
        lowest, highest = self._addressing.port_minimum, self._addressing.port_maximum
        ports = range(lowest, highest + 1)
        start = self._random.randrange(len(ports))
        for port in (*ports[start:], *ports[:start]):
            try:
                transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
                    lambda: _GuardedStunProtocol(self), local_addr=(address, port)
                )
            except OSError as error:
                if error.errno in _PORT_TAKEN:
                    continue
                raise
            transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_RCVBUF, UDP_SOCKET_BUFFER_SIZE
            )
            return protocol
        raise OSError(f"no UDP port of {lowest}-{highest} is free")

    async def _server_reflexive(
        self, protocols: list[StunProtocol], timeout_s: float
    ) -> list[Candidate]:
        assert self.stun_server is not None, "there is no server to ask"
        asked = [
            asyncio.ensure_future(server_reflexive_candidate(protocol, self.stun_server))
            for protocol in protocols
            if ipaddress.ip_address(protocol.local_candidate.host).version == 4
        ]
        if not asked:
            return []
        answered, silent = await asyncio.wait(asked, timeout=timeout_s)
        for task in silent:
            task.cancel()
        return [task.result()[0] for task in answered if task.exception() is None]

    async def connect(self) -> None:
        """Search for a pair; raises ``ConnectionError`` if there is none.

        If closed at the moment of success, aioice would send consent checks for ever.
        """
        await super().connect()
        if self._closing and self._query_consent_task is not None:
            self._query_consent_task.cancel()
            raise ConnectionError("closed while connecting")

    def data_received(self, data: bytes, component: int) -> None:
        """Keep a datagram that is not STUN until DTLS reads it."""
        if not _has_usable_length(data) or self._queue.qsize() >= WAITING_DATAGRAMS:
            return
        if 20 <= data[0] < 64:  # DTLS (RFC 7983, section 7)
            self._dtls_datagrams += 1
            if self._dtls_datagrams > DTLS_DATAGRAMS:
                return
        super().data_received(data, component)

    def knows(self, address: tuple[str, int]) -> bool:
        """Whether the peer connected from there, signalled it or proved it by a check."""
        return any(
            pair.remote_addr == address
            for pairs in (self._nominated, self._before_restart)
            for pair in pairs.values()
        ) or any(
            (candidate._network_host, candidate.port) == address
            for candidate in self._remote_candidates
        )

    def check_incoming(
        self, message: stun.Message, addr: tuple[str, int], protocol: StunProtocol
    ) -> None:
        """Handle a check of the peer, and record the address it came from if that is new."""
        has_room = len(self._remote_candidates) < REMOTE_CANDIDATES
        if "PRIORITY" in message.attributes and (has_room or self.knows(addr)):
            super().check_incoming(message, addr, protocol)

    # ICE restart (RFC 8445, section 9): new credentials and candidates for the same sockets.

    @property
    def is_established(self) -> bool:
        """Whether a pair was found and no search is running."""
        return bool(self._nominated) and not self._before_restart

    async def begin_restart(self, remote_username: str, remote_password: str) -> None:
        """Discard the agreed session and make new credentials; ``connect`` then searches again.

        Data continues over the pair in use. Only for an established connection.
        """
        assert self.is_established, "a restart needs something to restart"
        self._before_restart = dict(self._nominated)
        if self._query_consent_task is not None:
            self._query_consent_task.cancel()
            self._query_consent_task = None
        tasks = [pair.task for pair in self._check_list if pair.task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._nominated.clear()
        self._nominating.clear()
        self._check_list.clear()
        self._check_list_state = asyncio.Queue()
        self._check_list_done = False
        self._early_checks.clear()
        self._early_checks_done = False
        self._remote_candidates.clear()
        self._remote_candidates_end = False
        self._local_username = random_string(4)
        self._local_password = random_string(22)
        self.remote_username = remote_username
        self.remote_password = remote_password

    def end_restart(self) -> None:
        """Drop the old pair: the search found a new one."""
        self._before_restart = {}

    async def recvfrom(self) -> tuple[bytes, int]:
        """The next datagram; during a restart from whatever was connected before."""
        if self._nominated or not self._before_restart:
            return await super().recvfrom()
        received = await self._queue.get()
        if received is None:
            raise ConnectionError("connection lost while receiving data")
        return received

    async def sendto(self, data: bytes, component: int) -> None:
        """Send a datagram; during a restart over the pair that was in use before."""
        pair = self._nominated.get(component) or self._before_restart.get(component)
        if pair is None:
            raise ConnectionError("cannot send data, not connected")
        await pair.protocol.send_data(data, pair.remote_addr)

    @property
    def waiting_bytes(self) -> int:
        """Bytes waiting in this process to be sent over the pair in use; asyncio sets no bound."""
        return max(
            (_waiting_bytes(pair.protocol.transport) for pair in self._nominated.values()),
            default=0,
        )


class _GuardedStunProtocol(StunProtocol):
    """A socket that survives what strangers send to it."""

    receiver: IceConnection

    def datagram_received(self, data: bytes | str, addr: tuple[Any, ...]) -> None:
        """Accept STUN, which authenticates its sender, from anywhere; the rest from the peer."""
        if not _has_usable_length(data):
            return
        if data[0] not in _STUN_FIRST_BYTES and not self.receiver.knows((addr[0], addr[1])):
            return
        try:
            super().datagram_received(data, addr)
        except struct.error:  # aioice raises it for an attribute that is too short or too long
            return


def _waiting_bytes(transport: Any) -> int:
    """Bytes waiting to be sent over a socket, or over the one to a TURN server."""
    client = getattr(transport, _TURN_CLIENT, None)
    socket_transport = transport if client is None else client.transport
    return cast("asyncio.WriteTransport", socket_transport).get_write_buffer_size()


def _has_usable_length(data: bytes | str) -> bool:
    return 0 < len(data) <= LONGEST_DATAGRAM_BYTES


def _host_candidate(component: int, host: str, port: int) -> Candidate:
    return Candidate(
        foundation=candidate_foundation("host", "udp", host),
        component=component,
        transport="udp",
        priority=candidate_priority(component, "host"),
        host=host,
        port=port,
        type="host",
    )


def _advertised(candidates: list[Candidate], address: str) -> list[Candidate]:
    """``candidates`` as seen from outside: ``address`` instead of all our own of its kind."""
    version = ipaddress.ip_address(address).version
    return [
        _host_candidate(candidate.component, address, candidate.port)
        for candidate in candidates
        if candidate.type == "host" and ipaddress.ip_address(candidate.host).version == version
    ] + [candidate for candidate in candidates if candidate.type != "host"]
