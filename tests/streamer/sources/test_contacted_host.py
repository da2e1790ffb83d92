"""Whatever an address looks like, its host is contacted and no other, with its own credentials."""

from __future__ import annotations

import base64
import contextlib
import re
import socket
import threading
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamer.config.streams import StreamConfig
from streamer.runtime.address import Address, AddressError
from streamer.sources import make_source
from tests.streamer.sources.recorder import run_to_end

HOSTS = ("127.0.0.1", "127.0.0.2", "127.0.0.3")


class Listeners:
    """Servers of RTSP and HTTP on one port of several hosts: they ask for a password, then 404."""

    def __init__(self) -> None:
        self.heard: set[tuple[str, str | None]] = set()
        self.port = 0
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Listeners:
        for host in HOSTS:
            listener = socket.create_server((host, self.port))
            listener.settimeout(0.05)
            self.port = listener.getsockname()[1]
            thread = threading.Thread(target=self._serve, args=(host, listener))
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _serve(self, host: str, listener: socket.socket) -> None:
        with listener:
            while not self._stopped.is_set():
                with contextlib.suppress(OSError):
                    connection, _ = listener.accept()
                    connection.settimeout(5)
                    with connection:
                        self._answer(host, connection)

    def _answer(self, host: str, connection: socket.socket) -> None:
        received = b""
        while chunk := connection.recv(65_536):
            received += chunk
            while b"\r\n\r\n" in received:
                head, _, received = received.partition(b"\r\n\r\n")
                text = head.decode("latin-1")
                login = re.search(r"^Authorization: Basic (\S+)", text, re.MULTILINE)
                login_sent = base64.b64decode(login[1]).decode() if login else None
                self.heard.add((host, login_sent))
                number = re.search(r"^CSeq: *(\d+)", text, re.MULTILINE)
                first = f"RTSP/1.0 {404 if login else 401} x\r\nCSeq: {number[1]}" if number else (
                    f"HTTP/1.1 {404 if login else 401} x\r\nConnection: close"
                )  # fmt: skip
                connection.sendall(
                    f'{first}\r\nWWW-Authenticate: Basic realm="x"\r\n'
                    "Content-Length: 0\r\n\r\n".encode()
                )
                if not number:
                    return


@pytest.fixture(scope="module")
def listeners() -> Iterator[Listeners]:
    with Listeners() as running:
        yield running


_WORDS = st.text("ab1@:/?#%&=+'ä.", max_size=5)
_HOST = st.sampled_from(HOSTS)


@given(
    scheme=st.sampled_from(["rtsp", "http", "whep"]),
    parts=st.tuples(_WORDS, _WORDS, _HOST, _WORDS, _HOST),
    form=st.sampled_from(
        [
            "{2}:PORT/{0}",
            "{0}:{1}@{2}:PORT/{3}",
            "{2}:PORT{0}@{4}:PORT/{3}",
            "{0}@{2}:PORT?{1}@{4}:PORT/",
            "{0}{2}:PORT/{1}@{4}:PORT/{3}",
        ]
    ),
)
@settings(
    max_examples=500,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_only_the_host_of_the_address_is_contacted(
    listeners: Listeners, scheme: str, parts: tuple[str, ...], form: str
) -> None:
    text = f"{scheme}://{form.format(*parts).replace('PORT', str(listeners.port))}"
    try:
        address = Address.parse(text)
    except AddressError:
        return
    if address.host not in HOSTS:  # 127.0.0.1 may have become a part of a longer name
        return
    listeners.heard.clear()
    config = StreamConfig(url=address, open_timeout_s=5.0)
    run_to_end(make_source("gate", config))
    assert {host for host, _ in listeners.heard} == {address.host}
    given_login = f"{address.username}:{address.password or ''}"
    expected = None if address.username is None else given_login
    assert {login for _, login in listeners.heard} - {None} <= {expected}


def test_a_password_of_every_kind_of_character_arrives(listeners: Listeners) -> None:
    password = "@:/?#%&=+ \"'ä\\[]{}|^`~"
    for scheme in ("rtsp", "http", "whep"):
        listeners.heard.clear()
        address = Address(scheme, "/live", "127.0.0.2", listeners.port, "ann", password)
        run_to_end(make_source("gate", StreamConfig(url=Address.parse(address.text))))
        assert ("127.0.0.2", f"ann:{password}") in listeners.heard
