"""HTTP within limits: neither a redirect nor a playlist leads to a host that is not listed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from streamer.config.streams import StreamConfig
from streamer.errors import SourceError, SourceFailure
from streamer.runtime.address import Address
from streamer.sources import make_source
from tests.integration.rtsp.clips import CLIP_LENGTH, write_clip
from tests.scripted.server import LIVE_RESPONSE, ScriptedServer, Sending
from tests.streamer.sources.recorder import Recorder, run_to_end

Answer = tuple[int, dict[str, str], bytes]


class Server:
    """Answers by a rule, given the path and the headers; ``asked`` holds the paths."""

    def __init__(self, address: str, rule: Callable[[str, dict[str, str]], Answer]) -> None:
        self.asked: list[str] = []
        self.logins: list[str] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.asked.append(self.path)
                server.logins += self.headers.get_all("Authorization", [])
                status, headers, body = rule(self.path, dict(self.headers))
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer((address, 0), Handler)
        self.url = f"http://{address}:{self.http.server_port}"


@contextmanager
def serving(
    rule: Callable[[str, dict[str, str]], Answer], address: str = "127.0.0.1"
) -> Iterator[Server]:
    server = Server(address, rule)
    thread = threading.Thread(target=server.http.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:
        server.http.shutdown()
        thread.join()
        server.http.server_close()


@pytest.fixture(scope="module")
def segment(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_clip(tmp_path_factory.mktemp("clips") / "segment.ts").read_bytes()


def play(url: str, open_timeout_s: float = 5) -> tuple[Recorder, SourceError | None]:
    config = StreamConfig(url=url, open_timeout_s=open_timeout_s, read_timeout_s=2)

    def may_reach(address: Address) -> bool:
        return address.host == "127.0.0.1"

    return run_to_end(make_source("gate", config, may_reach))


def playlist(*segments: str) -> bytes:
    lines = "".join(f"#EXTINF:0.64,\n{each}\n" for each in segments)
    head = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n"
    return f"{head}{lines}#EXT-X-ENDLIST\n".encode()


def test_a_stream_and_a_playlist_of_the_listed_host_play(segment: bytes) -> None:
    def rule(path: str, headers: dict[str, str]) -> Answer:
        if path == "/recording.ts":
            first = int(headers.get("Range", "bytes=0-")[len("bytes=") : -1])
            return (206 if first else 200), {"Accept-Ranges": "bytes"}, segment[first:]
        if path == "/moved.ts":
            return 302, {"Location": "recording.ts"}, b""
        if path.endswith(".m3u8"):
            return 200, {}, playlist("a.ts", "/b.ts")
        return 200, {}, segment

    with serving(rule) as server:
        for path in ("/recording.ts", "/without-ranges.ts", "/list.m3u8", "/moved.ts"):
            output, error = play(server.url + path)
            assert error is None, path
            assert len(output.frames) >= CLIP_LENGTH - 1
    assert {"/a.ts", "/b.ts"} <= set(server.asked)


@pytest.mark.parametrize("kind", ["redirect", "segment", "variant", "redirected segment"])
def test_no_other_host_is_reached(kind: str, segment: bytes) -> None:
    with serving(lambda path, headers: (200, {}, segment), "127.0.0.2") as other:

        def rule(path: str, headers: dict[str, str]) -> Answer:
            if kind == "redirect" or path == "/away.ts":
                return 302, {"Location": f"{other.url}/secret"}, b""
            if kind == "segment":
                return 200, {}, playlist(f"{other.url}/a.ts")
            if kind == "variant":
                body = f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{other.url}/x.m3u8\n"
                return 200, {}, body.encode()
            return 200, {}, playlist("/away.ts")

        with serving(rule) as server:
            output, error = play(f"{server.url}/live.m3u8")
    assert not output.frames
    assert not other.asked
    assert error is not None
    assert error.reason is SourceFailure.REFUSED
    assert f"leads to {other.url}, which is not among api.url_schemes" in str(error)


def test_playlists_name_nothing_but_http(tmp_path: Path, segment: bytes) -> None:
    secret = tmp_path / "secret.ts"
    secret.write_bytes(segment)
    for name in (f"file://{secret}", f"crypto+http://127.0.0.1/{secret}", "rtsp://127.0.0.1/x"):
        with serving(lambda path, headers, name=name: (200, {}, playlist(name))) as server:
            output, error = play(f"{server.url}/live.m3u8")
        assert not output.frames
        assert error is not None


def test_credentials_are_for_the_place_they_were_given_for(segment: bytes) -> None:
    def wants_login(path: str, headers: dict[str, str]) -> Answer:
        if "Authorization" in headers:
            return 200, {}, segment
        return 401, {"WWW-Authenticate": 'Digest realm="x", nonce="1", algorithm=SHA-256'}, b""

    with serving(wants_login) as other, serving(wants_login) as server:
        output, error = play(server.url.replace("://", "://ann:pw@") + "/live.ts")
        assert error is None or error.reason is SourceFailure.ENDED
        assert output.frames
        assert server.logins[0].startswith("Digest ")
        moved = {"Location": f"{other.url}/live.ts"}
        with serving(lambda path, headers: (302, moved, b"")) as away:
            _, error = play(away.url.replace("://", "://ann:pw@") + "/live.ts")
    assert error is not None
    assert error.reason is SourceFailure.UNAUTHORISED
    assert not other.logins


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((404, {}, b""), SourceFailure.NOT_FOUND),
        ((500, {}, b""), SourceFailure.REFUSED),
        ((302, {"Location": "/again"}, b""), SourceFailure.REFUSED),
        ((302, {"Location": "http://[::1"}, b""), SourceFailure.REFUSED),
        ((200, {}, b"no video" * 500), SourceFailure.GARBAGE),
    ],
)
def test_answers_without_video_are_named(answer: Answer, reason: SourceFailure) -> None:
    with serving(lambda path, headers: answer) as server:
        output, error = play(f"{server.url}/live.ts")
    assert not output.frames
    assert error is not None
    assert error.reason is reason


@pytest.mark.parametrize("head", [b"", LIVE_RESPONSE])
def test_a_server_that_sends_something_for_ever_is_a_timeout(head: bytes) -> None:
    """FFmpeg does not interrupt reads that are not its own, and goes on while bytes come."""

    def script(server: Sending) -> None:
        while True:
            server.send(b"HTTP/1.1 200 OK\r\n" if head == b"" else b"\xff\xd8")
            server.wait(0.02)

    with ScriptedServer(script, "http", head=head) as server:
        output, error = play(server.url, open_timeout_s=0.4)
    assert not output.frames
    assert error is not None
    assert error.reason in (SourceFailure.TIMEOUT, SourceFailure.GARBAGE)
