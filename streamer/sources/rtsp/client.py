"""Requests to one RTSP server and their answers: connecting, logging in, and what went wrong."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from streamer.errors import SourceError, SourceFailure
from streamer.runtime.address import Address
from streamer.runtime.credentials import Credentials
from streamer.sources.authentication import Challenge, Login, challenges
from streamer.sources.base import MayReach
from streamer.sources.rtsp.messages import (
    CODING,
    Connection,
    ConnectionEndedError,
    MalformedMessageError,
    Message,
    printable,
)

_MAX_LOGINS = 3  # of one request: the first challenge, and nonces that expired


@dataclass(frozen=True, slots=True)
class CameraSettings:
    """Where a camera is and how to log in.

    ``address`` holds no credentials, ``shown`` is for messages. ``may_reach`` limits where a
    redirect may lead. ``tls`` is for ``rtsps``.
    """

    stream_id: str
    address: Address
    shown: str
    timeout_s: float
    user_agent: str
    tls: ssl.SSLContext
    credentials: Credentials | None = field(default=None, repr=False)
    may_reach: MayReach | None = None
    only_video: bool = False

    def failure(self, reason: SourceFailure, explanation: str) -> SourceError:
        """An error of this camera, with its stream and address."""
        return SourceError(reason, f"{self.stream_id}: {self.shown} {explanation}")


class RtspClient:
    """Asks one server at a time, in one thread; only ``abort`` may come from another.

    ``session`` is sent with each request once the server named one.
    """

    def __init__(self, settings: CameraSettings) -> None:
        self.address = settings.address
        self.session = ""
        self.peer = ""  # the server's IP address, once connected, also after it hung up
        self._settings = settings
        self._login = Login(settings.credentials) if settings.credentials else None
        self._connection: Connection | None = None
        self._raw: socket.socket | None = None
        self._aborted = False
        self._sequence = 0

    @property
    def connection(self) -> Connection:
        """The connection, once ``connect`` made one."""
        assert self._connection is not None
        return self._connection

    @property
    def uri(self) -> str:
        """The address as requests name it: with the port, as FFmpeg does."""
        return replace(self.address, port=self.address.place[2]).url

    def move(self, address: Address, *, with_credentials: bool) -> None:
        """Ask the server at ``address`` from the next ``connect`` on.

        Credentials once dropped stay dropped. No answer to an earlier challenge is sent there.
        """
        given = self._settings.credentials if self._login and with_credentials else None
        self._login = Login(given) if given else None
        self.address = replace(address, username=None, password=None)

    def connect(self) -> None:
        """Connect anew. Raises ``SourceError``."""
        self.close()
        scheme, host, port = self.address.place
        try:
            addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise self._settings.failure(
                SourceFailure.UNREACHABLE, f"cannot be reached: the name {host} does not resolve"
            ) from None
        failure = self._settings.failure(SourceFailure.UNREACHABLE, "has no address")
        for family, kind, protocol, _, address in addresses:
            if self._aborted:
                break
            self._raw = socket.socket(family, kind, protocol)
            self._raw.settimeout(self._settings.timeout_s)
            try:
                self._raw.connect(address)
                self._raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if scheme == "rtsps":
                    self._raw = self._settings.tls.wrap_socket(
                        self._raw, server_hostname=host, do_handshake_on_connect=False
                    )
                    self._raw.do_handshake()
            except OSError as error:
                self._raw.close()
                failure = self._unreachable(error)
                continue
            self._connection = Connection(self._raw)
            self.peer = str(address[0])
            return
        raise failure

    def ask(self, method: str, uri: str, headers: Mapping[str, str] | None = None) -> Message:
        """Send a request, logging in as asked; returns the last answer. Raises ``SourceError``."""
        for _ in range(_MAX_LOGINS):
            reply = self._ask_once(method, uri, headers or {})
            if reply.status != 401 or not self.log_in(reply):
                break
        if reply.status == 401:
            raise self._unauthorised(reply)
        if reply.is_success and self._login is not None:
            self._login.worked()
        return reply

    def _ask_once(self, method: str, uri: str, headers: Mapping[str, str]) -> Message:
        """One request and its answer. Some cameras hang up after each refusal: ask once more."""
        is_repeated = bool(self.session)  # which does not outlive the connection
        while True:
            try:
                self.send(method, uri, headers)
                return self.reply()
            except TimeoutError:
                raise self._settings.failure(
                    SourceFailure.TIMEOUT,
                    f"did not answer {method} within {self._settings.timeout_s:.1f} s "
                    "(open_timeout_s)",
                ) from None
            except OSError as error:
                if self.connection.is_garbage:
                    raise self.garbage("sent something else") from None
                if is_repeated or self._aborted:
                    what = (
                        "closed the connection"
                        if isinstance(error, ConnectionEndedError)
                        else f"cannot be reached any more: {error.strerror or error},"
                    )
                    raise self._settings.failure(
                        SourceFailure.UNREACHABLE,
                        f"{what} instead of answering {method}; check URL, port and path",
                    ) from None
            except MalformedMessageError as error:
                raise self.garbage(error) from None
            is_repeated = True
            self.connect()

    def reply(self) -> Message:
        """The next final reply; 100 Continue may precede it, and requests of the server's own."""
        while True:
            message = self.connection.message()
            if message.status is None:
                self.answer(message)
            elif message.status >= 200:
                return message

    def send(self, method: str, uri: str, headers: Mapping[str, str] | None = None) -> None:
        """Send a request, and wait for no answer."""
        self._sequence += 1
        fields = {"CSeq": str(self._sequence), "User-Agent": self._settings.user_agent}
        if self.session:
            fields["Session"] = self.session
        if self._login is not None and (login := self._login.field(method, uri)) is not None:
            fields["Authorization"] = login
        fields |= headers or {}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            # What the peer sent before it closed the connection is still to be read.
            self.connection.send(f"{method} {uri} RTSP/1.0\r\n{lines}\r\n".encode(*CODING))

    def answer(self, request: Message) -> None:
        """Answer a request of the server's own, as FFmpeg does."""
        sequence = request.value("cseq") or "0"
        status = "200 OK" if request.start.startswith("OPTIONS ") else "501 Not Implemented"
        self.connection.send(f"RTSP/1.0 {status}\r\nCSeq: {sequence}\r\n\r\n".encode())

    def log_in(self, reply: Message) -> bool:
        """Whether a request that was answered with 401 is worth repeating."""
        return self._login is not None and self._login.accept(_challenges(reply))

    def close(self) -> None:
        """Close the connection. Closing twice is no error."""
        if self._connection is not None:
            self._connection.socket.close()

    def abort(self) -> None:
        """End whatever the thread waits for, for good. Called by any thread."""
        self._aborted = True
        if self._raw is not None:
            with contextlib.suppress(OSError):  # not connected any more
                socket.socket.shutdown(self._raw, socket.SHUT_RDWR)

    def _unauthorised(self, reply: Message) -> SourceError:
        offered = _challenges(reply)
        ways = printable(" or ".join(each.way for each in offered)) or "no way that it names"
        if offered and all(each.rank is None for each in offered):
            advice = (
                f"asks for a login by {ways}, which is not supported; let it use Digest or Basic"
            )
        elif self._login is None and self._settings.credentials is None:
            advice = (
                f"asks for a user and a password (401, {ways}); set username_env and password_env "
                "or password_file"
            )
        elif self._login is None:
            advice = (
                f"asks for a login (401) after a redirect to {shown(self.address)}, where the "
                "password is not sent; set the stream's URL to that address if you trust it"
            )
        else:
            advice = (
                f"refused the credentials (401, {ways}); check username_env and password_env or "
                "password_file"
            )
        return self._settings.failure(SourceFailure.UNAUTHORISED, advice)

    def garbage(self, what: object) -> SourceError:
        """The error for a server that does not speak RTSP."""
        return self._settings.failure(
            SourceFailure.GARBAGE, f"does not speak RTSP: it {what}; check URL and port"
        )

    def _unreachable(self, error: OSError) -> SourceError:
        if isinstance(error, ssl.SSLError):
            reason = getattr(error, "verify_message", None) or error.reason or "no TLS there"
            return self._settings.failure(
                SourceFailure.REFUSED,
                f"does not complete a TLS handshake: {printable(reason)}; check the port, and with "
                "tls_verify the certificate, ca_file and the host's name",
            )
        if isinstance(error, ConnectionRefusedError):
            return self._settings.failure(
                SourceFailure.REFUSED,
                "refused the connection; is the port right and the server running?",
            )
        if isinstance(error, TimeoutError):
            return self._settings.failure(
                SourceFailure.TIMEOUT,
                f"did not answer within {self._settings.timeout_s:.1f} s (open_timeout_s)",
            )
        return self._settings.failure(
            SourceFailure.UNREACHABLE, f"cannot be reached: {error.strerror or error}"
        )


def shown(address: Address) -> str:
    """Scheme, host and port of an address that a server named."""
    return str(replace(address, username=None, target=""))


def _challenges(reply: Message) -> list[Challenge]:
    return challenges(reply.values("www-authenticate"))
