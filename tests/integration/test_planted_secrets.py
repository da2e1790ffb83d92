"""Secrets stand in every field that may hold one, and leave the daemon through none.

They are planted in configuration, environment, files, saved state, requests and wrong settings;
a camera echoes what it receives. What is searched: logs as text and JSON, ZeroMQ, HTTP answers
and problems, metrics, the OpenAPI document, the page, and what ``masklet`` prints.
"""

from __future__ import annotations

import asyncio
import base64
import io
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from streamer.app import App
from streamer.cli.main import main
from streamer.client.subscriber import Subscriber
from streamer.config.network import ApiConfig, IceServerConfig, TokenConfig, WebRTCConfig
from streamer.config.schema import MaskletConfig, ZeroMQConfig
from streamer.config.streams import StreamConfig
from streamer.errors import ConfigError
from streamer.runtime.curve_keys import allow_client, load_key_pair, make_keys
from streamer.runtime.logs import JsonFormatter, TextFormatter
from streamer.sources import make_source
from tests.integration.test_live_path import SMALL, running, settings, until
from tests.streamer.fakes import FakeTracker

_SECRETS = [f"Zq{number}x/{number}?Secret@{number}" for number in range(40)]


class Planted:
    """Secrets that were handed out, and the search for them in all their spellings."""

    def __init__(self) -> None:
        self._left = list(reversed(_SECRETS))
        self.out: list[str] = []

    def secret(self, *, plain: bool = False) -> str:
        """Another one; ``plain`` without characters that must be percent-encoded."""
        found = self._left.pop()
        return found.translate(str.maketrans("/?@", "qqq")) if plain else found

    def encoded(self) -> str:
        return quote(self.secret(), safe="")

    def found(self) -> list[str]:
        """The secrets in what has left."""
        text = "\n".join(self.out)
        spellings = set()
        for each in [
            *_SECRETS,
            *(each.translate(str.maketrans("/?@", "qqq")) for each in _SECRETS),
        ]:
            spellings |= {each, quote(each, safe=""), quote(each), each.split("?")[0]}
            spellings |= {
                base64.b64encode(f"{pad}{each}".encode()).decode()[4:-4] for pad in "aaa:"
            }
        return sorted(each for each in spellings if each in text)


@contextmanager
def echoing_camera() -> Iterator[int]:
    """A port that demands a password, and then repeats in its refusal all that it received."""
    stopped = threading.Event()

    def serve() -> None:
        while not stopped.is_set():
            with suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    connection.settimeout(2)
                    answer(connection)

    def answer(connection: socket.socket) -> None:
        heard = b""
        while chunk := connection.recv(65_536):
            heard += chunk
            if b"\r\n\r\n" not in chunk:
                continue
            line = b" ".join(heard.split())[:3000]
            is_rtsp = b"RTSP/" in heard
            first = b"RTSP/1.0" if is_rtsp else b"HTTP/1.1"
            number = heard.count(b"CSeq:") if is_rtsp else 0
            code = b"503" if b"Authorization" in heard else b"401"
            connection.sendall(
                first + b" " + code + b" " + line + b"\r\nCSeq: %d\r\n" % number
                + b'WWW-Authenticate: Basic realm="' + line.replace(b'"', b"") + b'"\r\n'
                + b"Location: /" + line.replace(b" ", b"") + b"\r\nContent-Length: 0\r\n\r\n"
            )  # fmt: skip

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            stopped.set()
            thread.join()


def cameras(planted: Planted, port: int, folder: Path) -> dict[str, StreamConfig]:
    """Streams with a secret wherever one may stand."""
    secret, plain, host = planted.encoded, lambda: planted.secret(plain=True), f"127.0.0.1:{port}"
    (folder / "password").write_text(planted.secret())
    (folder / "bearer").write_text(planted.secret(plain=True))
    for path in folder.iterdir():
        path.chmod(0o600)
    file = str(folder / "password")
    urls: dict[str, dict[str, object]] = {
        "own": {"url": f"rtsp://{secret()}:{secret()}@{host}/live?t={secret()}&channel=1"},
        "token": {"url": f"rtsp://{plain()}@{host}/{plain()}"},
        "path": {"url": f"rtsp://{host}/user=admin_password={plain()}_channel=1_stream=0.sdp"},
        "env": {"url": f"rtsp://{host}/", "username_env": "PL_USER", "password_env": "PL_PASSWORD"},
        "file": {"url": f"http://ann@{host}/v?loginpas={plain()}", "password_file": file,
                 "options": {"headers": f"X-Key: {plain()}\r\n", "cookies": plain()}},
        "srt": {"url": f"srt://127.0.0.1:1?streamid=read:g:u:{plain()}&passphrase={secret()}"},
        "rtmp": {"url": f"rtmp://{host}/live/{plain()}"},
        "whep": {"url": f"whep://{host}/w;s={plain()}?jwt={plain()}",
                 "password_file": str(folder / "bearer")},
        "scene": {"url": SMALL},
    }  # fmt: skip
    short = {"open_timeout_s": 1.0, "read_timeout_s": 1.0}
    return {name: StreamConfig.read({**short, **each}) for name, each in urls.items()}


def daemon_config(planted: Planted, port: int, folder: Path) -> MaskletConfig:
    keys = folder / "keys"
    server, client = (make_keys(keys, name) for name in ("server", "client"))
    allow_client(keys / "clients", "client", client.public)
    config = settings(folder, **cameras(planted, port, folder))
    return config.changed(
        zeromq=ZeroMQConfig(
            endpoint="tcp://127.0.0.1:*",
            server_key_file=str(server.secret),
            client_keys_directory=str(keys / "clients"),
        ),
        api=ApiConfig(
            port=0,
            tokens=[TokenConfig(name="op", scopes=["control"], token_env="PL_TOKEN")],
            url_hosts=["127.0.0.1"],
        ),
        webrtc=WebRTCConfig(
            ice_servers=[
                IceServerConfig(url="turn:127.0.0.1", username="u", password_env="PL_TURN")
            ]
        ),
        state_directory=str(folder / "state"),
    )


async def collect(planted: Planted, app: App, folder: Path, port: int, token: str) -> None:
    """Ask for everything that the daemon shows, and make it complain."""
    names = list(app.streams.configs())
    await until(
        lambda: all(each.connect_failures for each in app.streams.statuses()
                    if each.stream_id != "scene")
    )  # fmt: skip
    assert app.endpoints.metrics is not None
    bearer = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=str(app.endpoints.api), headers=bearer) as api:

        async def ask(method: str, path: str, **further: object) -> httpx.Response:
            answer = await api.request(method, path, **further)  # type: ignore[arg-type]
            planted.out += [answer.text, str(answer.headers.raw)]
            return answer

        for path in ("/", "/v1/info", "/v1/streams", "/openapi.json", "/healthz", "/readyz"):
            assert (await ask("GET", path)).status_code == 200
        for name in names:
            assert (await ask("GET", f"/v1/streams/{name}")).status_code == 200
        await ask("GET", app.endpoints.metrics)
        secret, plain = planted.encoded, planted.secret(plain=True)
        added = {"id": "added", "url": f"rtsp://ann:{secret()}@127.0.0.1:{port}/a?k={secret()}"}
        assert (await ask("POST", "/v1/streams", json=added)).status_code == 201
        wrong: list[tuple[str, str, object]] = [
            ("POST", "/v1/streams", {"id": "x", "url": f"rtsp://ann:{planted.secret()}@cam/"}),
            ("POST", "/v1/streams", {"id": "x", "url": f"gopher://ann:{secret()}@cam/"}),
            ("POST", "/v1/streams", {"id": "x", "url": f"rtsp://ann:{secret()}@10.0.0.9/"}),
            ("POST", "/v1/streams", {"id": "x", "url": [f"rtsp://ann:{secret()}@cam/"]}),
            ("POST", "/v1/streams", {**added, "id": "x", "password": plain}),
            ("PATCH", "/v1/streams/env", {"url": f"rtsp://ann:{secret()}@127.0.0.2/"}),
            ("PATCH", "/v1/streams/added", {"options": {"headers": plain}}),
            ("PATCH", "/v1/streams/added", {"password_file": plain}),
        ]
        for method, path, body in wrong:
            assert (await ask(method, path, json=body)).status_code in (403, 422)
        api.headers["Authorization"] = f"Bearer {planted.secret(plain=True)}"
        assert (await ask("GET", "/v1/streams")).status_code == 401
        assert (await ask("POST", "/v1/login")).status_code == 401
    keys = folder / "keys"
    with Subscriber(
        app.endpoints.zeromq,
        server_key=keys / "server.key",
        client_keys=keys / "client.key_secret",
    ) as subscriber:
        seen: set[str] = set()
        while not seen >= {*names, "added"}:
            message = await asyncio.to_thread(next, iter(subscriber))
            planted.out.append(repr(message))
            seen.add(message.stream_id)


def printed(planted: Planted, *arguments: str) -> None:
    """Call ``masklet`` and keep what it prints."""
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(out), suppress(SystemExit):
        main(arguments)
    planted.out.append(out.getvalue())


@pytest.fixture
def logged() -> Iterator[list[io.StringIO]]:
    """Everything that is logged in the process, as text and as JSON."""
    root, level = logging.getLogger(), logging.getLogger().level
    handlers = [logging.StreamHandler(io.StringIO()) for _ in range(2)]
    for handler, formatter in zip(handlers, (TextFormatter(), JsonFormatter()), strict=True):
        handler.setFormatter(formatter)
        root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    for client in ("httpx", "httpcore"):  # the test's own
        logging.getLogger(client).setLevel(logging.WARNING)
    yield [handler.stream for handler in handlers]
    root.setLevel(level)
    for handler in handlers:
        root.removeHandler(handler)


async def test_no_secret_leaves_the_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: list[io.StringIO]
) -> None:
    planted = Planted()
    token = planted.secret(plain=True) + "-long-enough-for-a-token"
    for name in ("PL_USER", "PL_PASSWORD", "PL_TURN"):
        monkeypatch.setenv(name, planted.secret())
    monkeypatch.setenv("PL_TOKEN", token)
    with echoing_camera() as port:
        config = daemon_config(planted, port, tmp_path)
        planted.out += [repr(config), str(config)]
        app = App(config, tracker=FakeTracker())  # type: ignore[arg-type]
        async with running(app):
            await collect(planted, app, tmp_path, port, token)
            control = app.endpoints.control
            for arguments in (("streams",), ("ctl", "streams", "list"), ("ctl", "info", "--json"),
                              ("add", f"y=rtsp://ann:{planted.secret()}@cam/"),
                              ("add", "--no-wait", f"z=rtsp://a:{planted.encoded()}@127.0.0.1:1/"),
                              ):  # fmt: skip
                await asyncio.to_thread(printed, planted, *arguments, "--control", control)
        # The next start finds the state, and an edited file.
        edited = {**config.streams, "added": StreamConfig.read({"url": "rtsp://127.0.0.1:1/"})}
        async with running(App(config.changed(streams=edited), tracker=FakeTracker())):  # type: ignore[arg-type]
            pass
    for pair in ("server", "client"):
        planted.out = [
            each.replace(load_key_pair(tmp_path / "keys" / f"{pair}.key_secret").secret.decode(),
                         _SECRETS[-1]) for each in planted.out
        ]  # fmt: skip
    planted.out += [each.getvalue() for each in logged]
    assert "the saved connection of stream added is not used" in planted.out[-2]
    assert "channel=1" in planted.out[-2]
    assert planted.found() == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "streams.g.url=rtsp://ann:SECRET@cam/?a=b"),
        ("run", "--stream", "g=rtsp://ann:x#SECRET@cam/"),
        ("run", "--stream", "g=rtsp://ann:SECRET x@cam/"),
        ("run", "--stream", "g=rtsp://ann:5SECRET@[cam/"),
        ("run", "--stream", "rtsp://ann:SECRET@cam/"),
        ("run", "streams.g.password=SECRET"),
        ("run", "api.tokens=[{name: me, scopes: [read], token: SECRET}]"),
        ("run", "webrtc.ice_servers=[{url: 'turn:h', username: u, password: SECRET}]"),
        ("run", "webrtc.ice_servers=[{url: 'turn://u:SECRET@h'}]"),
        ("streams", "--url", "http://ann:SECRET@127.0.0.1:1"),
        ("add", "g=rtsp://ann:x/SECRET@cam/"),
        ("doctor", "--stream", "g=rtsp://ann:x/SECRET@cam/"),
        ("watch", "--endpoint", "tcp://ann:SECRET@127.0.0.1:1x"),
    ],
    ids=str,
)
def test_a_wrong_setting_is_refused_without_it(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = Planted()
    secret = planted.secret(plain=True)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    printed(planted, *(each.replace("SECRET", secret) for each in arguments))
    assert planted.out[0]
    assert planted.found() == []


def test_a_secret_in_the_place_of_a_name_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    planted = Planted()
    config = StreamConfig.read({"url": "rtsp://ann@cam/", "password_env": planted.secret()})
    with pytest.raises(
        ConfigError, match=r"streams\.gate\.password_env must be the name"
    ) as raised:
        make_source("gate", config)
    planted.out.append(str(raised.value))
    assert planted.found() == []
