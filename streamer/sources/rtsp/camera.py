"""The dialogue with one camera: connecting, logging in, redirects, and what it may refuse."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from streamer.errors import SourceError, SourceFailure
from streamer.runtime.address import Address, AddressError
from streamer.runtime.credentials import Credentials
from streamer.runtime.logs import stream_logger
from streamer.sources.authentication import Challenge, Login, challenges
from streamer.sources.base import MayReach
from streamer.sources.rtsp.description import (
    MAX_TRACKS,
    SessionDescription,
    Track,
    parse_description,
)
from streamer.sources.rtsp.messages import (
    CODING,
    Connection,
    ConnectionEndedError,
    MalformedMessageError,
    Message,
    printable,
)

_MAX_REDIRECTS = 5
_MAX_PORT_ATTEMPTS = 20
_MAX_LOGINS = 3  # of one request: the first challenge, and nonces that expired
# OPTIONS is sent because some servers expect it; one that never answers it must not cost the time
# to open.
_OPTIONS_WAIT_S = 2.0
_REFUSALS = {
    401: (SourceFailure.UNAUTHORISED, ""),
    403: (SourceFailure.UNAUTHORISED, "check what this user may watch"),
    404: (SourceFailure.NOT_FOUND, "check the path in the URL"),
    461: (SourceFailure.REFUSED, "set transport: udp or tcp, whichever is not set now"),
}
_log = logging.getLogger(__name__)


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


class OpenAgainError(Exception):
    """The dialogue has to start again, with another track or at another address."""


class RtspCamera:
    """One camera, asked step by step in one thread; only ``abort`` may come from another.

    Every step raises ``SourceError``. Only DESCRIBE, SETUP of one video track and PLAY have to
    succeed: OPTIONS, other tracks and signs of life may be refused.
    """

    def __init__(self, settings: CameraSettings) -> None:
        self._settings = settings
        self._log = stream_logger(_log, settings.stream_id)
        self._address = settings.address
        self._login = Login(settings.credentials) if settings.credentials else None
        self._redirects = 0
        self._refused: dict[str, SourceError] = {}  # tracks by name; at most 8
        self._sends_options = True
        self._only_video = settings.only_video
        self._connection: Connection | None = None
        self._raw: socket.socket | None = None
        self._unread: list[socket.socket] = []  # two for each of at most 8 tracks
        self._aborted = False
        self._sequence = 0
        self._session = ""
        self._keep_alive_method = "OPTIONS"
        self._description: SessionDescription | None = None
        self._track: Track | None = None

    @property
    def connection(self) -> Connection:
        """The connection, once ``describe`` made one."""
        assert self._connection is not None
        return self._connection

    @property
    def peer(self) -> str:
        """The camera's IP address."""
        return str(self.connection.socket.getpeername()[0])

    # The steps.

    def describe(self, control: str) -> bytes:
        """Connect, and return a description of the video track to set up, named ``control``."""
        self._session, self._keep_alive_method = "", "OPTIONS"
        while True:
            self._connect()
            reply = self._options()
            if reply is None or not _is_redirect(reply):
                accept = {"Accept": "application/sdp"}
                reply = self._exchange("DESCRIBE", _request_uri(self._address), accept)
            if not _is_redirect(reply):
                return self._described(reply).only(self._chosen(), control)
            self._follow(reply)

    def set_up(self, transport: str, *, is_last_transport: bool) -> str | None:
        """Set the track up; the ``Transport`` header's value of the answer.

        None if the camera refuses this transport and another is to be tried. Raises
        ``OpenAgainError`` to go on with another track or elsewhere.
        """
        track = self._chosen()
        reply = self._exchange("SETUP", track.uri, {"Transport": transport})
        if _is_redirect(reply):
            self._follow(reply)
            raise OpenAgainError
        if reply.status == 461 and not is_last_transport:
            return None
        if reply.status != 200:
            self._give_up(track, reply)
        self._session = (reply.value("session") or "").split(";")[0].strip()
        agreed = (reply.value("transport") or transport).split(",")[0].strip()
        if ("TCP" in transport) != ("TCP" in agreed.upper()):
            raise self._settings.failure(
                SourceFailure.REFUSED,
                f"wants to send by {printable(agreed)}; set transport: udp or tcp accordingly",
            )
        self._set_up_others(transport)
        return agreed

    def play(self) -> None:
        """Start the media.

        A range is asked for as FFmpeg does, but a live stream needs none; one that is only a
        track may not be played as a whole (459, 460).
        """
        description, track = self._description, self._chosen()
        assert description is not None
        first: Message | None = None
        for uri, headers in (
            (description.uri, {"Range": "npt=0.000-"}),
            (description.uri, {}),
            (track.uri, {}),
        ):
            reply = self._exchange("PLAY", uri, headers)
            if reply.status == 200:
                return
            first = first or reply
        assert first is not None
        raise self._refusal("PLAY", first)

    def keep_alive(self) -> None:
        """Ask something that needs no answer, so that the session does not expire."""
        self._send(self._keep_alive_method, self._session_uri)

    def received(self, message: Message) -> None:
        """Handle what the camera sends while it plays: a request, or the answer to one of ours."""
        if message.status is None:
            sequence = message.value("cseq") or "0"
            status = "200 OK" if message.start.startswith("OPTIONS ") else "501 Not Implemented"
            self.connection.send(f"RTSP/1.0 {status}\r\nCSeq: {sequence}\r\n\r\n".encode())
        elif message.status == 401:
            self._log_in(message)  # for the next one
        elif message.status != 200:
            self._keep_alive_method = "OPTIONS"

    def tear_down(self) -> None:
        """Say goodbye, and wait for no answer."""
        if self._session:
            self._send("TEARDOWN", self._session_uri)

    def close(self) -> None:
        """Close the connection. Closing twice is no error."""
        for each in self._unread:
            each.close()
        self._unread.clear()
        if self._connection is not None:
            self._connection.socket.close()

    def abort(self) -> None:
        """End whatever the thread waits for, for good. Called by any thread."""
        self._aborted = True
        if self._raw is not None:
            with contextlib.suppress(OSError):  # not connected any more
                socket.socket.shutdown(self._raw, socket.SHUT_RDWR)

    # Requests.

    @property
    def _session_uri(self) -> str:
        return self._description.uri if self._description else _request_uri(self._address)

    def _options(self) -> Message | None:
        """Ask for the methods. Whether and how it is answered does not matter."""
        if not self._sends_options:
            return None
        wait_s = min(_OPTIONS_WAIT_S, self._settings.timeout_s / 2)
        try:
            self.connection.socket.settimeout(wait_s)
            self._send("OPTIONS", _request_uri(self._address))
            reply = self.connection.message()
        except OSError as error:
            self._log.debug("the camera does not answer OPTIONS: %s", error)
            self._sends_options = False
            self._connect()
            return None
        except MalformedMessageError as error:
            raise self._is_garbage(error) from None
        self.connection.socket.settimeout(self._settings.timeout_s)
        if "GET_PARAMETER" in (reply.value("public") or ""):
            self._keep_alive_method = "GET_PARAMETER"
        return reply

    def _exchange(self, method: str, uri: str, headers: Mapping[str, str] | None = None) -> Message:
        """Send a request, logging in as asked; returns the last answer."""
        for _ in range(_MAX_LOGINS):
            reply = self._ask(method, uri, headers or {})
            if reply.status != 401 or not self._log_in(reply):
                break
        if reply.status == 401:
            raise self._unauthorised(reply)
        if reply.status == 200 and self._login is not None:
            self._login.worked()
        return reply

    def _ask(self, method: str, uri: str, headers: Mapping[str, str]) -> Message:
        """One request and its answer. Some cameras hang up after each refusal: ask once more."""
        is_repeated = bool(self._session)  # which does not outlive the connection
        while True:
            try:
                self._send(method, uri, headers)
                while (reply := self.connection.message()).status is None:
                    self.received(reply)
                return reply
            except TimeoutError:
                raise self._settings.failure(
                    SourceFailure.TIMEOUT,
                    f"did not answer {method} within {self._settings.timeout_s:.1f} s "
                    "(open_timeout_s)",
                ) from None
            except OSError as error:
                if self.connection.is_garbage:
                    raise self._is_garbage("sent something else") from None
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
                raise self._is_garbage(error) from None
            is_repeated = True
            self._connect()

    def _send(self, method: str, uri: str, headers: Mapping[str, str] | None = None) -> None:
        self._sequence += 1
        fields = {"CSeq": str(self._sequence), "User-Agent": self._settings.user_agent}
        if self._session:
            fields["Session"] = self._session
        if self._login is not None and (login := self._login.field(method, uri)) is not None:
            fields["Authorization"] = login
        fields |= headers or {}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            # What the peer said before it hung up is still to be read.
            self.connection.send(f"{method} {uri} RTSP/1.0\r\n{lines}\r\n".encode(*CODING))

    def _log_in(self, reply: Message) -> bool:
        """Whether a request that was answered with 401 is worth repeating."""
        return self._login is not None and self._login.accept(_challenges(reply))

    # Answers.

    def _described(self, reply: Message) -> SessionDescription:
        if reply.status != 200:
            raise self._refusal("DESCRIBE", reply)
        base = reply.value("content-base") or reply.value("content-location") or ""
        if "://" not in base:
            base = _request_uri(self._address)
        description = parse_description(reply.body, base)
        if not description.videos:
            offers = ", ".join(map(str, description.tracks[:MAX_TRACKS])) or "nothing"
            raise self._settings.failure(
                SourceFailure.NO_VIDEO,
                f"has no video stream; it offers {offers}; check the path in the URL",
            )
        self._description = description
        left = [track for track in description.videos if track.uri not in self._refused]
        if not left:
            raise next(iter(self._refused.values()))
        self._track = left[0]
        return description

    def _set_up_others(self, transport: str) -> None:
        """Set up sound and data as well; what arrives is discarded, and a refusal costs nothing.

        Servers of GStreamer with several clients fail when one of them leaves a track out.
        """
        assert self._description is not None
        for number, track in enumerate(self._description.others, start=1):
            if self._only_video or "multicast" in transport:
                return
            if "TCP" in transport:
                # FFmpeg skips channels that it does not know.
                wanted = f"RTP/AVP/TCP;unicast;interleaved={2 * number}-{2 * number + 1}"
            else:
                port = self._unread_ports()
                wanted = f"RTP/AVP/UDP;unicast;client_port={port}-{port + 1}"
            try:
                reply = self._exchange("SETUP", track.uri, {"Transport": wanted})
            except SourceError as error:
                self._only_video = True
                self._log.info("opening again without the track %s: %s", track, error)
                raise OpenAgainError from None
            if reply.status != 200:
                self._log.info(
                    "the camera refused SETUP of the track %s with %s: it is left out",
                    track,
                    reply.reason,
                )

    def _unread_ports(self) -> int:
        """The first of two UDP ports that nobody reads: the kernel drops what does not fit."""
        for _ in range(_MAX_PORT_ATTEMPTS):
            pair: list[socket.socket] = []
            try:
                for _ in range(2):
                    own = self.connection.socket.getsockname()
                    pair.append(socket.socket(self.connection.socket.family, socket.SOCK_DGRAM))
                    pair[-1].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)  # the least
                    port = pair[0].getsockname()[1] + 1 if len(pair) == 2 else 0
                    pair[-1].bind((own[0], port, *own[2:]))
            except (OSError, OverflowError):
                for each in pair:
                    each.close()
            else:
                self._unread += pair
                return int(pair[0].getsockname()[1])
        raise self._settings.failure(SourceFailure.INTERNAL, "finds no two free UDP ports in a row")

    def _chosen(self) -> Track:
        assert self._track is not None
        return self._track

    def _give_up(self, track: Track, reply: Message) -> None:
        """Raise ``OpenAgainError`` where there is another video track, else the refusal."""
        refusal = self._refusal(f"SETUP of the track {track}", reply)
        self._refused[track.uri] = refusal
        assert self._description is not None
        left = [each for each in self._description.videos if each.uri not in self._refused]
        if not left or len(self._refused) >= MAX_TRACKS:
            raise next(iter(self._refused.values()))
        self._log.warning(
            "the camera refused SETUP of the track %s with %s; trying %s",
            track,
            reply.reason,
            left[0],
        )
        raise OpenAgainError

    def _refusal(self, request: str, reply: Message) -> SourceError:
        status = reply.status or 0
        reason, advice = _REFUSALS.get(status, (SourceFailure.REFUSED, "check the URL"))
        if status >= 500:
            advice = "look at the camera's own log"
        return self._settings.failure(reason, f"refused {request} with {reply.reason}; {advice}")

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
                f"asks for a login (401) after a redirect to {_shown(self._address)}, where the "
                "password is not sent; set the stream's URL to that address if you trust it"
            )
        else:
            advice = (
                f"refused the credentials (401, {ways}); check username_env and password_env or "
                "password_file"
            )
        return self._settings.failure(SourceFailure.UNAUTHORISED, advice)

    def _is_garbage(self, what: object) -> SourceError:
        return self._settings.failure(
            SourceFailure.GARBAGE, f"does not speak RTSP: it {what}; check URL and port"
        )

    # Addresses.

    def _follow(self, reply: Message) -> None:
        """Go on at the address that a redirect names, if that is allowed.

        Credentials stay behind, for good, unless it is the configured host and the connection no
        less protected.
        """
        self._redirects += 1
        if self._redirects > _MAX_REDIRECTS:
            raise self._refused_redirect(f"more than {_MAX_REDIRECTS} times; check its settings")
        location = reply.value("location") or ""
        try:
            target = self._address.joined(location)
        except AddressError:
            target = None
        if not location or target is None or target.scheme not in ("rtsp", "rtsps"):
            raise self._refused_redirect(f"to {printable(location) or 'nowhere'}, which is no RTSP")
        is_host = self._is_host(target)
        may_reach = self._settings.may_reach
        if not is_host and may_reach is not None and not may_reach(target):
            raise self._refused_redirect(
                f"to {_shown(target)}, which is not among api.url_hosts; list it there"
            )
        is_weaker = self._address.scheme == "rtsps" and target.scheme == "rtsp"
        if self._login is not None:
            # A new login: no answer to an earlier challenge goes there unasked.
            keeps = is_host and not is_weaker and self._settings.credentials
            self._login = Login(keeps) if keeps else None
        self._log.info("redirected to %s", _shown(target))
        self._address = replace(target, username=None, password=None)

    def _is_host(self, target: Address) -> bool:
        """Whether ``target`` is the configured host, by name or by the address it has now."""
        configured = self._settings.address.host
        is_here = self._address.host == configured
        return target.host == configured or (is_here and target.host == self.peer)

    def _refused_redirect(self, text: str) -> SourceError:
        return self._settings.failure(SourceFailure.REFUSED, f"redirects {text}")

    def _connect(self) -> None:
        self.close()
        scheme, host, port = self._address.place
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
            return
        raise failure

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


def _challenges(reply: Message) -> list[Challenge]:
    return challenges(reply.values("www-authenticate"))


def _is_redirect(reply: Message) -> bool:
    return reply.status is not None and 300 <= reply.status < 400


def _request_uri(address: Address) -> str:
    """The address as requests name it: with the port, as FFmpeg does."""
    return replace(address, port=address.place[2]).url


def _shown(address: Address) -> str:
    """Scheme, host and port of an address that a server named."""
    return str(replace(address, username=None, target=""))
