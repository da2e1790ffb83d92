"""A client of the daemon's HTTP API, at a URL or at the daemon's control socket.

It follows no redirect and uses no proxy of the environment: a token goes to the daemon named, and
nowhere else.
"""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from streamer.config.control_endpoint import trusted_control_path
from streamer.errors import ConfigError, MaskletError
from streamer.runtime.address import Address, AddressError
from streamer.runtime.sockets import is_loopback

DEFAULT_URL = "http://127.0.0.1:8080"
MAXIMUM_ANSWER_BYTES = 64 << 20
MAXIMUM_EVENT_BYTES = 1 << 20
MAXIMUM_TOKEN_BYTES = 4096
# The daemon refuses a prompt on an earlier frame after 30 s.
TIMEOUT_S = 35.0
# A stream of events that is idle carries a comment every 15 s: one that is silent is gone.
SILENCE_S = 45.0
# HTTP over a Unix socket needs a host name; the daemon ignores it there.
_SOCKET_URL = "http://masklet"


class ApiError(MaskletError):
    """The daemon refused, or did not answer; ``status`` is the HTTP status, None without one."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One server-sent event; reading can resume after its ``event_id``."""

    kind: str
    data: str
    event_id: str | None


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach a daemon: at ``url``, or at its ``control`` endpoint, ``ipc:///PATH``.

    ``ca_file`` holds the certificates to trust, None: the system's.
    """

    url: str = DEFAULT_URL
    control: str | None = None
    token: str | None = field(default=None, repr=False)
    ca_file: str | None = None
    insecure: bool = False


def read_token(token_env: str | None, token_file: str | None) -> str | None:
    """The token from a file or an environment variable; None where none is set.

    Raises ``ConfigError`` for a named one that cannot be read.
    """
    if token_file is not None:
        try:
            with Path(token_file).open("rb") as file:
                content = file.read(MAXIMUM_TOKEN_BYTES + 1)
            token = content.decode("ascii").strip()
        except OSError as error:
            raise ConfigError(f"--token-file: cannot read {token_file}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ConfigError(f"--token-file: {token_file} holds no token") from None
        source = f"--token-file: {token_file}"
    else:
        name = token_env or "MASKLET_TOKEN"
        if name not in os.environ:
            if token_env is not None:
                raise ConfigError(f"--token-env: the environment variable {name} is not set")
            return None
        token, source = os.environ[name].strip(), f"the environment variable {name}"
    if not token or len(token) > MAXIMUM_TOKEN_BYTES or not token.isprintable() or " " in token:
        raise ConfigError(f"{source} holds no token")
    return token


class ApiClient:
    """Requests to one daemon, each over a connection of its own.

    Every method raises ``ApiError`` with one line for a person: why the daemon refused, or why it
    could not be asked.
    """

    def __init__(self, access: Access) -> None:
        """Raises ``ConfigError`` for an address that is none, or a URL that shows the token, and
        ``SecurityError`` for a control socket that may be another user's.
        """
        self._access = access
        self._where = access.control or access.url
        self._socket: Path | None = None
        limits = httpx.Limits(max_keepalive_connections=0)
        if access.control is not None:
            self._socket = trusted_control_path(access.control, "--control")
            transport = httpx.HTTPTransport(uds=str(self._socket), verify=False, limits=limits)
            self._client = httpx.Client(
                transport=transport, base_url=_SOCKET_URL, trust_env=False, timeout=TIMEOUT_S
            )
            return
        self._client = httpx.Client(
            verify=trusted_certificates(access) if is_https(access) else False,
            base_url=access.url,
            trust_env=False,
            timeout=TIMEOUT_S,
            limits=limits,
            headers={} if access.token is None else {"Authorization": f"Bearer {access.token}"},
        )

    @property
    def where(self) -> str:
        """The address of the daemon: its URL or its control socket."""
        return self._where

    @property
    def control(self) -> str | None:
        """The control socket that it uses, if it does."""
        return self._access.control

    def get(self, path: str, **query: object) -> Any:
        """The JSON at ``path``."""
        return self._json("GET", path, None, query)

    def post(self, path: str, body: object = None, **query: object) -> Any:
        """Post JSON; the JSON answered."""
        return self._json("POST", path, body, query)

    def put(self, path: str, body: object) -> None:
        """Make a resource what the body says."""
        self._json("PUT", path, body, {})

    def patch(self, path: str, body: object) -> Any:
        """Change a resource; the JSON answered."""
        return self._json("PATCH", path, body, {})

    def delete(self, path: str) -> None:
        """Remove a resource."""
        self._json("DELETE", path, None, {})

    def content(self, path: str, **query: object) -> bytes:
        """The bytes at ``path``."""
        with self._answer("GET", path, None, query) as answer:
            return _read(answer)

    def events(self, stream_id: str | None, last: int, after: str | None) -> Iterator[ServerEvent]:
        """Events as they happen, until the daemon ends the stream of them.

        ``last`` asks for that many past events, ``after`` for all since the event with that id.
        """
        query: dict[str, object] = {"stream": stream_id, "last": last or None}
        headers = {"Accept": "text/event-stream"}
        if after is not None:
            headers["Last-Event-ID"] = after
        with self._answer("GET", "/v1/events", None, query, headers, SILENCE_S) as answer:
            yield from _parse_events(answer.iter_raw())

    def _json(self, method: str, path: str, body: object, query: dict[str, object]) -> Any:
        with self._answer(method, path, body, query) as answer:
            content = _read(answer)
        if not content:
            return None
        try:
            return json.loads(content)
        except ValueError:
            raise ApiError(f"{self._where} is no masklet: it answered without JSON") from None

    @contextmanager
    def _answer(
        self,
        method: str,
        path: str,
        body: object,
        query: dict[str, object],
        headers: dict[str, str] | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> Iterator[httpx.Response]:
        if self._socket is not None and not self._socket.exists():
            raise self._no_daemon()  # httpcore leaks a socket that it cannot connect
        sent = {"Accept": "application/json"} | (headers or {})
        if body is not None:
            sent["Content-Type"] = "application/json"
        try:
            with self._client.stream(
                method,
                path,
                params={name: str(value) for name, value in query.items() if value is not None},
                content=None if body is None else json.dumps(body).encode(),
                headers=sent,
                timeout=timeout_s,
            ) as answer:
                if answer.status_code >= 300:
                    raise self._refused(answer)
                yield answer
        except httpx.TimeoutException as error:
            raise ApiError(
                f"{self._where} did not answer within {timeout_s:.0f} s; is it running?"
            ) from error
        except httpx.TransportError as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: httpx.TransportError) -> ApiError:
        """Why there was no answer. httpx wraps the operating system's error twice."""
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, OSError):
            cause = cause.__cause__ or cause.__context__
        match cause:
            case ssl.SSLCertVerificationError():
                return ApiError(
                    f"the certificate of {self._where} is not trusted ({cause.verify_message}); "
                    "give the daemon's with --ca FILE, or --insecure"
                )
            case ssl.SSLError():
                return ApiError(f"{self._where} speaks no TLS ({cause.reason}); try http://")
            case FileNotFoundError() | ConnectionRefusedError() if self._access.control:
                return self._no_daemon()
            case PermissionError() if self._access.control:
                return ApiError(
                    f"{self._where} belongs to another user: become that user, or give --url and "
                    "a token"
                )
            case OSError() if isinstance(error, httpx.ConnectError):
                return ApiError(
                    f"no daemon answers at {self._where} ({cause.strerror or cause}); start one "
                    "with `masklet run`, or name another with --url or MASKLET_URL"
                )
        return ApiError(
            f"{self._where} ended the connection without an HTTP answer ({type(error).__name__}); "
            "is it stopping, or does it speak TLS (https://)?"
        )

    def _no_daemon(self) -> ApiError:
        return ApiError(
            f"no daemon listens at {self._where}: start one with `masklet run`, or name its "
            "control.endpoint with --control"
        )

    def _refused(self, answer: httpx.Response) -> ApiError:
        """A refusal (RFC 9457) in one line."""
        status = answer.status_code
        if status < 400:
            return ApiError(
                f"{self._where} redirects ({status} to "
                f"{answer.headers.get('Location', 'nowhere')}); give that --url",
                status,
            )
        try:
            problem = json.loads(_read(answer))
            detail = str(problem["detail"])
            for each in problem.get("errors", []):
                if str(each["detail"]) not in detail:
                    detail += f"; {each['location']}: {each['detail']}"
        except (ValueError, LookupError, TypeError):
            detail = f"{self._where} answered {status} {answer.reason_phrase}"
        detail = " ".join(detail.split())
        if status == 401:
            detail += "; give a token: --token-file FILE, or export MASKLET_TOKEN"
        return ApiError(detail, status)


def is_https(access: Access) -> bool:
    """Whether the URL asks for TLS. Raises ``ConfigError`` for one that cannot be used."""
    wanted = "--url must be http://HOST:PORT or https://HOST:PORT"
    try:
        address = Address.split(access.url)
    except AddressError as error:
        raise ConfigError(f"{wanted}; it {error}") from None
    is_plain = bool(address.host) and address.username is None and "?" not in address.target
    if address.scheme not in ("http", "https") or not is_plain:
        raise ConfigError(f"{wanted}, got {address}")
    is_open = address.scheme == "http" and not is_loopback(address.host)
    if access.token and is_open and not access.insecure:
        raise ConfigError(
            f"the token would go to {address.host} unencrypted: use https://, or --insecure if "
            "that is meant"
        )
    return address.scheme == "https"


def trusted_certificates(access: Access) -> ssl.SSLContext:
    """The certificates to trust. Raises ``ConfigError`` for a file that holds none."""
    try:
        context = ssl.create_default_context(cafile=access.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"--ca: {access.ca_file} holds no certificate that can be read "
            f"({error.strerror or error})"
        ) from None
    if access.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _read(answer: httpx.Response) -> bytes:
    content = bytearray()
    for part in answer.iter_bytes():
        content += part
        if len(content) > MAXIMUM_ANSWER_BYTES:
            raise ApiError(f"the answer is larger than {MAXIMUM_ANSWER_BYTES >> 20} MiB")
    return bytes(content)


def _parse_events(parts: Iterable[bytes]) -> Iterator[ServerEvent]:
    """Server-sent events (the HTML standard, 9.2.6), without comments and empty events."""
    kind, data, event_id = "message", list[str](), None
    for raw in _lines(parts):
        line = raw.decode("utf-8", "replace").rstrip("\r")
        if not line:
            if data:
                yield ServerEvent(kind, "\n".join(data), event_id)
            kind, data = "message", []
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "event":
                kind = value
            case "data":
                data.append(value)
            case "id":
                event_id = value


def _lines(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Whole lines; ``str.splitlines`` would also split at characters that JSON may hold."""
    rest = b""
    for part in parts:
        *whole, rest = (rest + part).split(b"\n")
        yield from whole
        if len(rest) > MAXIMUM_EVENT_BYTES:
            raise ApiError(f"an event is larger than {MAXIMUM_EVENT_BYTES >> 20} MiB")
