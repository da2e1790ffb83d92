"""The HTTP side of a WHEP client (draft-ietf-wish-whep): POST an offer, DELETE the session.

Uses the standard library's blocking client in the source's thread. Failures are raised as
``SourceError`` with a typed reason; no message contains text that could hold a password.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass

from streamer.errors import SourceError, SourceFailure
from streamer.runtime.address import Address, AddressError
from streamer.runtime.timed_http import read_in_time
from streamer.webrtc.http_answer import SDP, media_type
from streamer.webrtc.session_description import MAXIMUM_BYTES

_MAXIMUM_REDIRECTS = 5
_DELETE_TIMEOUT_S = 2.0
_REFUSALS = {
    401: (
        SourceFailure.UNAUTHORISED,
        "refused the credentials (401); set password_env or password_file for a bearer token, "
        "and username_env too for a user",
    ),
    403: (SourceFailure.UNAUTHORISED, "forbids access (403); check what this user may watch"),
    404: (
        SourceFailure.NOT_FOUND,
        "has no such stream (404); check the path, and that a publisher is connected to it",
    ),
    406: (SourceFailure.REFUSED, "does not accept our offer (406)"),
}


@dataclass(frozen=True, slots=True)
class _Response:
    status: int
    headers: Mapping[str, str]
    body: bytes


class WhepSignalling:
    """One session at a media server: call ``post``, then ``delete``, from one thread."""

    def __init__(
        self,
        address: Address,
        *,
        name: str,
        authorisation: str | None,
        tls: ssl.SSLContext | None,
        timeout_s: float,
    ) -> None:
        """``address`` is http or https; ``name`` (stream and redacted URL) prefixes messages."""
        self._address = address
        self._name = name
        self._authorisation = authorisation
        self._tls = tls
        self._timeout_s = timeout_s
        self._session: Address | None = None

    def post(self, offer: str) -> bytes:
        """The answer to ``offer``. Raises ``SourceError``."""
        deadline_s = time.monotonic() + self._timeout_s
        address = self._address
        for _ in range(_MAXIMUM_REDIRECTS + 1):
            response = self._request("POST", address, offer.encode(), deadline_s)
            if response.status not in (307, 308):
                return self._answer(address, response)
            address = self._redirected(address, response)
        raise self._failure(
            SourceFailure.REFUSED, f"redirects more than {_MAXIMUM_REDIRECTS} times"
        )

    def delete(self) -> None:
        """End the session. A failed request is ignored: the server will time the session out."""
        if self._session is None:
            return
        session, self._session = self._session, None
        try:
            self._request("DELETE", session, None, time.monotonic() + _DELETE_TIMEOUT_S)
        except SourceError:
            return

    def _answer(self, address: Address, response: _Response) -> bytes:
        if response.status != 201:
            reason, explanation = _REFUSALS.get(
                response.status,
                (SourceFailure.REFUSED, f"answered {response.status} instead of 201"),
            )
            raise self._failure(reason, explanation)
        location = response.headers.get("location")
        if location is not None:
            self._session = self._session_of(address, location)
        if media_type(response.headers.get("content-type")) != SDP:
            raise self._failure(SourceFailure.GARBAGE, f"answered with a type other than {SDP}")
        return response.body

    def _redirected(self, address: Address, response: _Response) -> Address:
        location = response.headers.get("location")
        if location is None:
            raise self._failure(SourceFailure.REFUSED, "redirects without an address")
        return self._on_same_host(address, location, "redirects to")

    def _session_of(self, address: Address, location: str) -> Address:
        """The session to delete: where the answer came from, or the same host behind TLS.

        Another port may be another program, which would take our request for that of a user of
        this machine.
        """
        session = self._on_same_host(address, location, "names a session at")
        if session.scheme == address.scheme and session.place != address.place:
            raise self._failure(
                SourceFailure.REFUSED, f"names a session at another port ({session.place[2]})"
            )
        return session

    def _on_same_host(self, address: Address, location: str, does: str) -> Address:
        """``location`` as an address. Raises ``SourceError`` if it leads elsewhere.

        An allowed server must not lead us to one that is not allowed (``api.url_hosts``), and TLS
        must not end.
        """
        try:
            target = address.joined(location)
        except AddressError as error:
            raise self._failure(SourceFailure.REFUSED, f"{does} an address that {error}") from None
        if target.scheme not in (("https",) if address.scheme == "https" else ("http", "https")):
            raise self._failure(
                SourceFailure.REFUSED, f"{does} {target.scheme}, and not {address.scheme}"
            )
        if target.host != self._address.host:
            raise self._failure(
                SourceFailure.REFUSED, f"{does} {target.host}; give that server's address instead"
            )
        return target

    def _request(
        self, method: str, address: Address, body: bytes | None, deadline_s: float
    ) -> _Response:
        headers = {"Accept": SDP, "User-Agent": "masklet"}
        if body is not None:
            headers["Content-Type"] = SDP
        if self._authorisation is not None and address.place == self._address.place:
            headers["Authorization"] = self._authorisation
        try:
            connection = self._connection(address, self._remaining_s(deadline_s))

            read_in_time(connection, lambda: self._remaining_s(deadline_s))
            try:
                slash = "" if address.target.startswith("/") else "/"
                connection.request(method, slash + address.target, body, headers)
                with connection.getresponse() as response:
                    return _Response(
                        response.status,
                        {name.lower(): value for name, value in response.getheaders()},
                        self._read(response),
                    )
            finally:
                connection.close()
        except TimeoutError as error:
            raise self._failure(SourceFailure.TIMEOUT, "did not answer in time") from error
        except ConnectionRefusedError as error:
            raise self._failure(
                SourceFailure.REFUSED,
                "refused the connection; is the port right and the server running?",
            ) from error
        except ssl.SSLCertVerificationError as error:
            raise self._failure(
                SourceFailure.REFUSED,
                "has a certificate that is not trusted; name its authority with "
                "options: {ca_file: /PATH.pem}",
            ) from error
        except socket.gaierror as error:
            raise self._failure(
                SourceFailure.UNREACHABLE, "cannot be reached; does the host name resolve?"
            ) from error
        except (http.client.HTTPException, ssl.SSLError, ValueError) as error:
            raise self._failure(
                SourceFailure.GARBAGE, "does not speak HTTP as expected; check scheme and port"
            ) from error
        except OSError as error:
            raise self._failure(
                SourceFailure.UNREACHABLE, f"cannot be reached ({error.strerror})"
            ) from error

    def _connection(self, address: Address, timeout_s: float) -> http.client.HTTPConnection:
        scheme, host, port = address.place
        if scheme == "https":
            return http.client.HTTPSConnection(host, port, timeout=timeout_s, context=self._tls)
        return http.client.HTTPConnection(host, port, timeout=timeout_s)

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        """The body, up to ``MAXIMUM_BYTES``."""
        body = b""
        while chunk := response.read1(MAXIMUM_BYTES):
            body += chunk
            if len(body) > MAXIMUM_BYTES:
                raise self._failure(
                    SourceFailure.GARBAGE, f"answers with more than {MAXIMUM_BYTES} bytes"
                )
        return body

    def _remaining_s(self, deadline_s: float) -> float:
        remaining_s = deadline_s - time.monotonic()
        if remaining_s <= 0:
            raise TimeoutError
        return remaining_s

    def _failure(self, reason: SourceFailure, explanation: str) -> SourceError:
        return SourceError(reason, f"{self._name} {explanation}")
