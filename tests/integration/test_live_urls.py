"""Addresses other than RTSP, and peers that are no camera: real sockets on loopback."""

from __future__ import annotations

import base64
import contextlib
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import pytest

from streamer.config.streams import StreamConfig
from streamer.errors import SourceFailure
from streamer.sources import make_source
from tests.integration.rtsp.clips import CLIP_LENGTH, encode, read_number, write_clip
from tests.streamer.sources.recorder import RunningSource


def running(url: str, **settings: object) -> RunningSource:
    values = {"open_timeout_s": 1.0, "read_timeout_s": 1.0, **settings}
    return RunningSource(make_source("gate", StreamConfig(url=url, **values)))  # type: ignore[arg-type]


@contextlib.contextmanager
def peer(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """The port of a listener that does ``talk`` with each connection, then closes it."""
    stopped = threading.Event()

    def serve() -> None:
        while not stopped.is_set():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            connection.settimeout(0.05)
            with connection, contextlib.suppress(OSError):
                talk(connection)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        thread = threading.Thread(target=serve, name="peer")
        thread.start()
        yield listener.getsockname()[1]
        stopped.set()
        thread.join()


def stay_silent(connection: socket.socket) -> None:
    with contextlib.suppress(ConnectionError):
        while True:
            with contextlib.suppress(TimeoutError):
                if not connection.recv(4096):
                    return


def send_noise(connection: socket.socket) -> None:
    noise = random.Random(3)
    for _ in range(100):
        connection.sendall(noise.randbytes(1000))


@pytest.mark.parametrize("scheme", ["rtsp", "rtsps", "http", "tcp"])
def test_a_peer_that_accepts_and_never_answers_is_a_timeout(scheme: str) -> None:
    with peer(stay_silent) as port:
        started_s = time.monotonic()
        with running(f"{scheme}://127.0.0.1:{port}/live") as source:
            error = source.wait_for_end()
        lasted_s = time.monotonic() - started_s
    assert error is not None
    assert error.reason is SourceFailure.TIMEOUT
    assert 0.8 <= lasted_s < 4.0


@pytest.mark.parametrize("scheme", ["rtsp", "http", "tcp"])
def test_random_bytes_are_garbage(scheme: str) -> None:
    with peer(send_noise) as port, running(f"{scheme}://127.0.0.1:{port}/live") as source:
        error = source.wait_for_end()
    assert error is not None
    assert error.reason in (SourceFailure.GARBAGE, SourceFailure.UNREACHABLE)


def test_a_peer_that_hangs_up_is_unreachable_or_garbage() -> None:
    with (
        peer(lambda connection: None) as port,
        running(f"rtsp://127.0.0.1:{port}/live") as source,
    ):
        error = source.wait_for_end()
    assert error is not None
    assert error.reason in (SourceFailure.GARBAGE, SourceFailure.UNREACHABLE)


class Camera(BaseHTTPRequestHandler):
    """An HTTP camera: endless MJPEG, protected by a password."""

    pictures: tuple[bytes, ...] = ()
    authorization = "Basic " + base64.b64encode(b"ann:p@ss/w:rd").decode()

    def do_GET(self) -> None:
        if self.path == "/secret.mjpg" and self.headers["Authorization"] != self.authorization:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="camera"')
            self.end_headers()
            return
        if not self.path.endswith(".mjpg"):
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=next")
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            for index in range(1000):
                picture = self.pictures[index % len(self.pictures)]
                self.wfile.write(
                    b"--next\r\nContent-Type: image/jpeg\r\n"
                    + f"Content-Length: {len(picture)}\r\n\r\n".encode()
                    + picture
                    + b"\r\n"
                )
                time.sleep(0.02)

    def log_message(self, format: str, *args: object) -> None:
        """Log no requests."""


@contextlib.contextmanager
def http_server(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def camera() -> Iterator[str]:
    Camera.pictures = tuple(encode("mjpeg", CLIP_LENGTH))
    with http_server(Camera) as address:
        yield address


def test_http_mjpeg(camera: str) -> None:
    with running(f"http://{camera}/live.mjpg", open_timeout_s=10.0) as source:
        frames = source.wait_for_frames(20)
    numbers = [read_number(frame.pixels.rgb()) for frame in frames[:20]]
    assert numbers == [index % CLIP_LENGTH for index in range(20)]


def test_http_credentials(camera: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAM_PASSWORD", "p@ss/w:rd")
    url = f"http://ann@{camera}/secret.mjpg"
    with running(url, password_env="CAM_PASSWORD", open_timeout_s=10.0) as source:
        source.wait_for_frames(1)
    for refused in (f"http://{camera}/secret.mjpg", f"http://ann:wrong@{camera}/secret.mjpg"):
        with running(refused) as source:
            error = source.wait_for_end()
        assert error is not None
        assert error.reason is SourceFailure.UNAUTHORISED
        assert "wrong" not in str(error)


def test_http_404_is_not_found(camera: str) -> None:
    with running(f"http://{camera}/nothing") as source:
        error = source.wait_for_end()
    assert error is not None
    assert error.reason is SourceFailure.NOT_FOUND


def test_an_http_server_on_the_rtsp_port_is_no_camera(camera: str) -> None:
    with running(f"rtsp://{camera}/live.mjpg") as source:
        error = source.wait_for_end()
    assert error is not None
    assert error.reason not in (SourceFailure.INTERNAL, SourceFailure.TIMEOUT)


class QuietFiles(SimpleHTTPRequestHandler):
    """Files over HTTP, without a log."""

    def log_message(self, format: str, *args: object) -> None:
        """Log no requests."""


@pytest.mark.parametrize("name", ["clip.m3u8", "clip.mp4"])
def test_a_recording_behind_http_is_played_in_real_time_and_ends(name: str, tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.mp4")
    with (
        av.open(
            str(tmp_path / "clip.m3u8"), "w", format="hls", options={"hls_time": "0.3"}
        ) as playlist,
        av.open(str(tmp_path / "clip.mp4")) as recording,
    ):
        video = recording.streams.video[0]
        copy = playlist.add_stream_from_template(video)
        for packet in recording.demux(video):
            if packet.dts is not None:
                packet.stream = copy
                playlist.mux(packet)
    with http_server(partial(QuietFiles, directory=str(tmp_path))) as address:
        started_s = time.monotonic()
        with running(f"http://{address}/{name}", open_timeout_s=10.0) as source:
            assert source.wait_for_end() is None
    assert time.monotonic() - started_s > 0.5
    frames = source.output.frames
    assert [read_number(frame.pixels.rgb()) for frame in frames] == list(range(CLIP_LENGTH))


def test_srt_works_or_reports_that_this_ffmpeg_lacks_it(free_port: int) -> None:
    """The PyAV wheels of PyPI are built without SRT; one built with it finds no server."""
    with running(f"srt://127.0.0.1:{free_port}?mode=caller") as source:
        error = source.wait_for_end()
    assert error is not None
    if error.reason is SourceFailure.CODEC:
        assert "uses a protocol that this FFmpeg build lacks" in str(error)
    else:
        assert error.reason in (SourceFailure.TIMEOUT, SourceFailure.UNREACHABLE)
