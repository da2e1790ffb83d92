"""A client of the daemon's HTTP API, with nothing but the standard library.

It follows no redirect and uses no proxy of the environment: a token goes to the daemon named, and
nowhere else.
"""

from __future__ import annotations

import http.client
import json
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlencode, urlsplit

from streamer.errors import ConfigError, MaskletError
from streamer.runtime.sockets import is_loopback

DEFAULT_URL = "http://127.0.0.1:8080"
MAXIMUM_ANSWER_BYTES = 64 << 20
MAXIMUM_EVENT_BYTES = 1 << 20
MAXIMUM_TOKEN_BYTES = 4096
TIMEOUT_S = 30.0
# A stream of events that is idle carries a comment every 15 s: one that is silent is gone.
SILENCE_S = 45.0


class ApiError(MaskletError):
    """The daemon refused, or did not answer; ``status`` is the HTTP status, None without one."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One server-sent event; ``event_id`` is what reading can go on after."""

    kind: str
    data: str
    event_id: str | None


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach a daemon. ``ca_file`` holds the certificates to trust, None: the system's."""

    url: str = DEFAULT_URL
    token: str | None = field(default=None, repr=False)
    ca_file: str | None = None
    insecure: bool = False


def read_token(token_env: str | None, token_file: str | None) -> str | None:
    """The token from a file, or from a variable of the environment; None: there is none.

    Raises ``ConfigError`` for one that was named and cannot be read.
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

    Every method raises ``ApiError`` with one line for a person: what the daemon said, or why it
    could not be asked.
    """

    def __init__(self, access: Access) -> None:
        """Raises ``ConfigError`` for a URL that is none, or that would show the token."""
        self._access = access
        parts = urlsplit(access.url)
        try:
            port = parts.port
        except ValueError:
            port = -1
        wrong = parts.scheme not in ("http", "https") or not parts.hostname or port == -1
        if wrong or parts.query or parts.fragment or parts.username is not None:
            raise ConfigError(
                f"--url must be http://HOST:PORT or https://HOST:PORT, got {_shown(access.url)}"
            )
        self._host = parts.hostname or ""
        self._port = port
        self._prefix = parts.path.rstrip("/")
        self._tls = parts.scheme == "https"
        if access.token and not self._tls and not access.insecure and not is_loopback(self._host):
            raise ConfigError(
                f"the token would go to {self._host} readable for everybody on the way: use "
                "https://, or --insecure if that is meant"
            )

    def get(self, path: str, **query: object) -> Any:
        """The JSON at ``path``."""
        return self._json("GET", path, None, query)

    def post(self, path: str, body: object = None, **query: object) -> Any:
        """Post JSON; the JSON answered."""
        return self._json("POST", path, body, query)

    def patch(self, path: str, body: object) -> Any:
        """Change a resource; the JSON answered."""
        return self._json("PATCH", path, body, {})

    def delete(self, path: str) -> None:
        """Remove a resource."""
        self._json("DELETE", path, None, {})

    def content(self, path: str, **query: object) -> bytes:
        """What lies at ``path``, as it is."""
        with self._answer("GET", path, None, query, {}, TIMEOUT_S) as answer:
            return self._read(answer)

    def events(self, stream_id: str | None, last: int, after: str | None) -> Iterator[ServerEvent]:
        """Events as they happen, until the daemon ends the stream of them.

        ``last`` asks for so many of the past, ``after`` for all that followed an event's id.
        """
        query: dict[str, object] = {"stream": stream_id, "last": last or None}
        headers = {"Accept": "text/event-stream"}
        if after is not None:
            headers["Last-Event-ID"] = after
        with self._answer("GET", "/v1/events", None, query, headers, SILENCE_S) as answer:
            yield from _parse_events(answer)

    def _json(self, method: str, path: str, body: object, query: dict[str, object]) -> Any:
        with self._answer(method, path, body, query, {}, TIMEOUT_S) as answer:
            content = self._read(answer)
        if not content:
            return None
        try:
            return json.loads(content)
        except ValueError:
            raise ApiError(f"{self._access.url} is no masklet: it answered without JSON") from None

    @staticmethod
    def _read(answer: http.client.HTTPResponse) -> bytes:
        content = answer.read(MAXIMUM_ANSWER_BYTES + 1)
        if len(content) > MAXIMUM_ANSWER_BYTES:
            raise ApiError(f"the answer is larger than {MAXIMUM_ANSWER_BYTES >> 20} MiB")
        return content

    @contextmanager
    def _answer(
        self,
        method: str,
        path: str,
        body: object,
        query: dict[str, object],
        headers: dict[str, str],
        timeout_s: float,
    ) -> Iterator[http.client.HTTPResponse]:
        connection = self._connection(timeout_s)
        given = {name: value for name, value in query.items() if value is not None}
        target = f"{self._prefix}{path}" + (f"?{urlencode(given)}" if given else "")
        sent = {"Accept": "application/json", **headers}
        if self._access.token is not None:
            sent["Authorization"] = f"Bearer {self._access.token}"
        encoded = None
        if body is not None:
            encoded = json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        try:
            connection.request(method, target, encoded, sent)
            with connection.getresponse() as answer:
                if answer.status >= 300:
                    raise self._refused(answer)
                yield answer
        except ssl.SSLCertVerificationError as error:
            raise ApiError(
                f"the certificate of {self._access.url} is not trusted ({error.verify_message}); "
                "give the daemon's with --ca FILE, or --insecure"
            ) from error
        except ssl.SSLError as error:
            raise ApiError(
                f"{self._access.url} speaks no TLS ({error.reason}); try http://"
            ) from error
        except TimeoutError as error:
            raise ApiError(
                f"{self._access.url} did not answer within {timeout_s:.0f} s; is it running?"
            ) from error
        except http.client.HTTPException as error:
            raise ApiError(
                f"{self._access.url} gave no HTTP answer ({type(error).__name__}); does it speak "
                "TLS (https://)?"
            ) from error
        except OSError as error:
            raise ApiError(
                f"no daemon answers at {self._access.url} ({error.strerror or error}); start one "
                "with `masklet run`, or name another with --url or MASKLET_URL"
            ) from error
        finally:
            connection.close()

    def _connection(self, timeout_s: float) -> http.client.HTTPConnection:
        if not self._tls:
            return http.client.HTTPConnection(self._host, self._port, timeout=timeout_s)
        try:
            context = ssl.create_default_context(cafile=self._access.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"--ca: {self._access.ca_file} holds no certificate that can be read "
                f"({error.strerror or error})"
            ) from None
        if self._access.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return http.client.HTTPSConnection(
            self._host, self._port, timeout=timeout_s, context=context
        )

    def _refused(self, answer: http.client.HTTPResponse) -> ApiError:
        """What a refusal says, in one line (RFC 9457)."""
        if answer.status < 400:
            return ApiError(
                f"{self._access.url} sends elsewhere ({answer.status} to "
                f"{answer.headers.get('Location', 'nowhere')}); give that --url",
                answer.status,
            )
        try:
            problem = json.loads(answer.read(MAXIMUM_EVENT_BYTES))
            detail = str(problem["detail"])
            for each in problem.get("errors", []):
                if str(each["detail"]) not in detail:
                    detail += f"; {each['location']}: {each['detail']}"
        except (ValueError, LookupError, TypeError):
            detail = f"{self._access.url} answered {answer.status} {answer.reason}"
        detail = " ".join(detail.split())
        if answer.status == 401:
            detail += "; give a token: --token-file FILE, or export MASKLET_TOKEN"
        return ApiError(detail, answer.status)


def _parse_events(lines: IO[bytes] | http.client.HTTPResponse) -> Iterator[ServerEvent]:
    """Server-sent events (the HTML standard, 9.2.6); comments and empty events are left out."""
    kind, data, event_id = "message", list[str](), None
    while True:
        raw = lines.readline(MAXIMUM_EVENT_BYTES)
        if not raw:
            return
        line = raw.decode("utf-8", "replace").rstrip("\r\n")
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


def _shown(url: str) -> str:
    """A URL for a message: of one with a user in it, nothing that could be a password."""
    return "one with a user in it" if "@" in url else repr(url)
