"""The daemon's HTTP API as any client meets it: the standard library, no code of the daemon's."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from email.message import Message
from typing import Any
from urllib.parse import urljoin

from tests.conftest import eventually
from tests.masklet_process import Daemon


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, whatever its status."""

    status: int
    headers: Message
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class HttpClient:
    """Calls one daemon, with a bearer token where it wants one."""

    origin: str
    token: str | None = None

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """One request; ``body`` is sent unchanged when it is bytes, otherwise as JSON."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(urljoin(self.origin, path), data, method=method)
        if data is not None:
            request.add_header("Content-Type", content_type)
        if self.token is not None:
            request.add_header("Authorization", f"Bearer {self.token}")
        for name, value in (headers or {}).items():
            request.add_header(name, value)
        try:
            with urllib.request.urlopen(request, timeout=30, context=_any_server()) as answer:
                return Answer(answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.headers, error.read())

    def get(self, path: str) -> Any:
        """The JSON of a resource that must be there."""
        answer = self.call("GET", path)
        assert answer.status == 200, (path, answer.status, answer.body)
        return answer.json()

    def stream(self, stream_id: str) -> dict[str, Any]:
        """How a stream does."""
        found: dict[str, Any] = self.get(f"/v1/streams/{stream_id}")
        return found

    def wait_until_ready(self, daemon: Daemon) -> None:
        """Wait until the daemon serves."""

        def ready() -> bool:
            assert daemon.process.poll() is None, daemon.log_file.read_text()
            try:
                return self.call("GET", "/readyz").status == 200
            except OSError:
                return False

        eventually(ready, timeout_s=90, what=f"{self.origin} to be ready")


def _any_server() -> ssl.SSLContext:
    """TLS that asks for no proof: a daemon of the tests made its certificate itself."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
