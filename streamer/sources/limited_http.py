"""HTTP within limits: FFmpeg's requests are made here, each to a host that may be reached.

FFmpeg follows redirects, and what a playlist names, to any host. For a stream that was added over
the API this opens every address for it: the first, each redirect, each playlist and segment.
"""

from __future__ import annotations

import http.client
import os
import ssl
from collections.abc import Callable, Mapping
from dataclasses import replace

from streamer.errors import SourceError, SourceFailure
from streamer.runtime.address import Address, AddressError
from streamer.runtime.credentials import Credentials
from streamer.runtime.timed_http import read_in_time
from streamer.sources.authentication import Login, challenges
from streamer.sources.base import MayReach
from streamer.sources.read_deadline import read_time_left_s

# FFmpeg would reuse a connection of its own for the next segment, and there is none.
OPTIONS = {"http_persistent": "0", "http_multiple": "0"}
_MAX_REQUESTS = 8  # of one address: redirects and logins
_REFUSALS = {
    401: (SourceFailure.UNAUTHORISED, "refused the credentials (401); check them"),
    403: (SourceFailure.UNAUTHORISED, "forbids access (403); check what this user may watch"),
    404: (SourceFailure.NOT_FOUND, "has no such path (404); check the path in the URL"),
}


class LimitedHttp:
    """Opens addresses of one attempt; one thread.

    ``given`` goes to the place of ``address`` only. ``failure`` makes an error of the source.
    """

    def __init__(
        self,
        address: Address,
        given: Credentials | None,
        *,
        may_reach: MayReach,
        tls: ssl.SSLContext,
        timeout_s: float,
        failure: Callable[[SourceFailure, str], SourceError],
    ) -> None:
        self._address = address
        self._login = Login(given) if given else None
        self._may_reach = may_reach
        self._tls = tls
        self._timeout_s = timeout_s
        self._failure = failure
        # Of the last whole body. FFmpeg asks for a length only where it can seek.
        self.has_length = False

    def open(self, url: str, _flags: int, options: Mapping[str, str]) -> _Body:
        """The body at ``url``, as FFmpeg asks for it. Raises ``SourceError``."""
        first, end = int(options.get("offset", "0")), int(options.get("end_offset", "0"))
        try:
            address, response = self._response(Address.parse(url), first, end)
        except AddressError as error:
            raise self._failure(
                SourceFailure.REFUSED, f"leads to an address that {error}"
            ) from None
        size = response.getheader("Content-Length")
        can_seek = response.getheader("Accept-Ranges", "").lower() == "bytes"
        if first or end:
            return _Body(response, self._lost)
        self.has_length = size is not None and size.isdecimal()
        if size is None or not self.has_length or not can_seek:
            return _Body(response, self._lost)
        return _SeekableBody(
            response, self._lost, int(size), lambda at: self._response(address, at, 0)[1]
        )

    def _response(
        self, address: Address, first: int, end: int
    ) -> tuple[Address, http.client.HTTPResponse]:
        """The answer with a body, and the address it came from after redirects."""
        try:
            for _ in range(_MAX_REQUESTS):
                response = self._get(address, first, end)
                if response.status == (206 if first or end else 200):
                    return address, response
                location = response.getheader("Location")
                response.close()
                if 300 <= response.status < 400 and location is not None:
                    address = address.joined(location)
                elif response.status != 401 or not self._may_log_in(address, response):
                    raise self._refusal(response.status)
        except (OSError, http.client.HTTPException) as error:
            raise self._lost(error) from None
        raise self._failure(SourceFailure.REFUSED, f"redirects more than {_MAX_REQUESTS} times")

    def _get(self, address: Address, first: int, end: int) -> http.client.HTTPResponse:
        scheme, host, port = address.place
        if scheme not in ("http", "https") or not self._may_reach(address):
            shown = replace(address, username=None, target="")
            raise self._failure(
                SourceFailure.REFUSED,
                f"leads to {shown}, which is not among api.url_schemes and api.url_hosts; list it "
                "there, or set this stream in the configuration file",
            )
        timeout_s = self._remaining_s()
        connection = (
            http.client.HTTPSConnection(host, port, timeout=timeout_s, context=self._tls)
            if scheme == "https"
            else http.client.HTTPConnection(host, port, timeout=timeout_s)
        )
        target = address.target if address.target.startswith("/") else f"/{address.target}"
        headers = {"User-Agent": "masklet", "Accept": "*/*", "Connection": "close"}
        if first or end:
            headers["Range"] = f"bytes={first}-{end - 1 if end else ''}"
        if self._login is not None and address.place == self._address.place:
            field = self._login.field("GET", target)
            headers |= {} if field is None else {"Authorization": field}
        read_in_time(connection, self._remaining_s)
        try:
            connection.request("GET", target, headers=headers)
            return connection.getresponse()
        finally:
            if connection.sock is not None:
                connection.sock.close()  # once the response is closed, too

    def _remaining_s(self) -> float:
        """Seconds that a read may take. FFmpeg does not interrupt reads that are not its own."""
        left_s = min(self._timeout_s, read_time_left_s())
        if left_s <= 0:
            raise TimeoutError
        return left_s

    def _may_log_in(self, address: Address, response: http.client.HTTPResponse) -> bool:
        if self._login is None or address.place != self._address.place:
            return False
        return self._login.accept(challenges(response.headers.get_all("WWW-Authenticate", [])))

    def _refusal(self, status: int) -> SourceError:
        advice = "look at the server's log" if status >= 500 else "check the URL"
        answered = SourceFailure.REFUSED, f"answered {status}; {advice}"
        return self._failure(*_REFUSALS.get(status, answered))

    def _lost(self, error: Exception) -> SourceError:
        if isinstance(error, TimeoutError):
            return self._failure(SourceFailure.TIMEOUT, f"sent nothing for {self._timeout_s:.1f} s")
        if isinstance(error, ConnectionRefusedError):
            return self._failure(SourceFailure.REFUSED, "refused the connection")
        if isinstance(error, http.client.HTTPException):
            return self._failure(
                SourceFailure.GARBAGE,
                f"does not speak HTTP ({type(error).__name__}); check URL and port",
            )
        return self._failure(
            SourceFailure.UNREACHABLE, f"cannot be reached: {type(error).__name__}"
        )


class _Body:
    """What FFmpeg reads: a file without a position, as far as it has arrived."""

    def __init__(
        self, response: http.client.HTTPResponse, lost: Callable[[Exception], SourceError]
    ) -> None:
        self._response = response
        self._lost = lost

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes, none at the end. Raises ``SourceError``."""
        try:
            return self._response.read1(size)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise self._lost(error) from None

    def close(self) -> None:
        """Close the connection."""
        self._response.close()

    def __del__(self) -> None:
        # PyAV drops the first body of a container without closing it.
        self.close()


class _SeekableBody(_Body):
    """A recording's body: ``get`` asks for the rest from a position."""

    def __init__(
        self,
        response: http.client.HTTPResponse,
        lost: Callable[[Exception], SourceError],
        size: int,
        get: Callable[[int], http.client.HTTPResponse],
    ) -> None:
        super().__init__(response, lost)
        self._size = size
        self._get = get
        self._position = self._response_at = 0

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes, none at the end. Raises ``SourceError``."""
        if self._position >= self._size:
            return b""
        if self._position != self._response_at:
            self.close()
            self._response = self._get(self._position)
        data = super().read(size)
        self._position += len(data)
        self._response_at = self._position
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move the position of the next read."""
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(0, origin + offset)
        return self._position

    def tell(self) -> int:
        """The position of the next read."""
        return self._position
