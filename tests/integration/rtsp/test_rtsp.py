"""Reading from a real RTSP server: codecs, transports, credentials, clocks, and its failures."""

from __future__ import annotations

import itertools
import logging
import subprocess
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamer.config.streams import StreamConfig
from streamer.errors import SourceError, SourceFailure
from streamer.sources import make_source
from streamer.types import ClockSource, DropReason
from tests.conftest import eventually
from tests.integration.rtsp.clips import CLIP_LENGTH, HEIGHT, WIDTH, read_number, write_clip
from tests.integration.rtsp.server import RtspServer
from tests.streamer.sources.recorder import RunningSource

USER, PASSWORD = "gate keeper", "p@ss/w:rd%20?"


def running(url: str, **settings: object) -> RunningSource:
    values = {"open_timeout_s": 10.0, "read_timeout_s": 20.0, **settings}
    return RunningSource(make_source("gate", StreamConfig(url=url, **values)))  # type: ignore[arg-type]


def numbers(source: RunningSource) -> list[int]:
    return [read_number(frame.pixels.rgb()) for frame in source.output.frames]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "h264.mkv", "h264")


@pytest.fixture(scope="module")
def server(clip: Path) -> Iterator[RtspServer]:
    with RtspServer("--file", str(clip), "--audio") as running_server:
        yield running_server


@pytest.mark.parametrize("codec", ["h264", "h265", "mjpeg"])
def test_every_picture_comes_once_and_in_order(codec: str, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mkv", codec)
    with RtspServer("--file", str(clip)) as server:
        for transport in ("tcp", "udp"):
            with running(server.url(), transport=transport) as source:
                frames = source.wait_for_frames(12)[:12]
            first = read_number(frames[0].pixels.rgb())
            expected = [(first + index) % CLIP_LENGTH for index in range(12)]
            assert [read_number(frame.pixels.rgb()) for frame in frames] == expected, transport
            assert all(frame.pixels.rgb().shape == (HEIGHT, WIDTH, 3) for frame in frames)
            times = [frame.pts for frame in frames if frame.pts is not None]
            assert times == sorted(set(times))
            assert not source.output.resets


def test_audio_beside_the_video_is_ignored(server: RtspServer) -> None:
    with running(server.url()) as source:
        frames = source.wait_for_frames(5)
    assert frames[0].pixels.rgb().shape == (HEIGHT, WIDTH, 3)


def test_the_first_picture_comes_soon_after_opening(server: RtspServer) -> None:
    """Quick opening: without it FFmpeg analyses a second of video, and delivers it late."""
    with running(server.url()) as warm_up:
        warm_up.wait_for_frames(1)
        started_s = time.monotonic()
        with running(server.url()) as source:
            source.wait_for_frames(1)
            waited_s = time.monotonic() - started_s
    # A keyframe comes every 0.32 s and the parser waits for the picture after it.
    assert waited_s < 1.5


def test_capture_time_follows_the_sender_reports(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "slow.mkv", rate_hz=10)
    with RtspServer("--file", str(clip), "--report") as server, running(server.url()) as source:
        eventually(
            lambda: (
                len([f for f in source.output.frames if f.clock_source is ClockSource.RTCP_SR]) > 5
            ),
            what="frames with the sender's clock",
        )
        pushes = list(server.pushes)
    before_reports = source.output.frames[0]
    assert before_reports.clock_source is ClockSource.ARRIVAL
    assert before_reports.capture_time_ns == before_reports.arrival_time_ns
    errors_ms = []
    for frame in source.output.frames:
        if frame.clock_source is ClockSource.RTCP_SR:
            number = read_number(frame.pixels.rgb())
            pushed_ns = [push.time_ns for push in pushes if push.index == number]
            errors_ms.append(min(abs(frame.capture_time_ns - each) for each in pushed_ns) / 1e6)
    # One picture lasts 100 ms and comes back after 1.6 s: an error of one picture would be seen.
    assert sorted(errors_ms)[len(errors_ms) // 2] < 30, errors_ms


@pytest.mark.parametrize("method", ["basic", "digest"])
def test_credentials(
    method: str, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATE_USER", USER)
    monkeypatch.setenv("GATE_PASSWORD", PASSWORD)
    password_file = tmp_path / "password"
    password_file.write_text(PASSWORD + "\n")
    options = ["--auth", method, "--user", USER, "--password", PASSWORD]
    with RtspServer("--file", str(clip), *options) as server:
        ways = [
            (server.url(f"{USER}:{PASSWORD}"), {}),
            (server.url(), {"username_env": "GATE_USER", "password_env": "GATE_PASSWORD"}),
            (server.url(USER), {"password_file": str(password_file)}),
        ]
        for url, settings in ways:
            with running(url, **settings) as source:
                source.wait_for_frames(1)
        for url in (server.url(), server.url(f"{USER}:wrong-{PASSWORD}")):
            with running(url) as source:
                error = source.wait_for_end()
            assert error is not None
            assert error.reason is SourceFailure.UNAUTHORISED


def test_no_message_log_or_traceback_holds_the_password(
    clip: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = "s3cr3t/p@ss"
    shown = []
    with RtspServer("--file", str(clip)) as server:
        dead = RtspServer("--file", str(clip))
        dead.wait_until_ready()
        dead.kill()
        urls = [
            server.url(f"ann:{secret}", path="/nowhere"),
            dead.url(f"ann:{secret}"),
        ]
        for url in urls:
            source = make_source("gate", StreamConfig(url=url))
            shown += [repr(source), source.redacted_url]
            with pytest.raises(SourceError) as caught, running(url) as attempt:
                raise attempt.wait_for_end() or AssertionError("it opened")
            error = caught.value
            shown += [str(error), repr(error), "".join(traceback.format_exception(error))]
            assert error.__context__ is None
            assert error.__cause__ is None
        with running(server.url(f"ann:{secret}")) as attempt:
            attempt.wait_for_frames(1)
            server.kill()
            shown.append(str(attempt.wait_for_end()))
    shown += [caplog.text, *capfd.readouterr()]
    for text in shown:
        assert "s3cr3t" not in text
        assert "p@ss" not in text
        assert "p%40ss" not in text


def test_wrong_path_is_not_found(server: RtspServer) -> None:
    with running(server.url(path="/nowhere")) as source:
        error = source.wait_for_end()
    assert error is not None
    assert error.reason is SourceFailure.NOT_FOUND
    assert "gate: rtsp://127.0.0.1" in str(error)


def test_closed_port_is_refused(free_port: int) -> None:
    with running(f"rtsp://127.0.0.1:{free_port}/live") as source:
        error = source.wait_for_end()
    assert error is not None
    assert error.reason is SourceFailure.REFUSED


def test_unknown_host_is_unreachable() -> None:
    with running("rtsp://camera.invalid/live") as source:
        error = source.wait_for_end()
    assert error is not None
    assert error.reason is SourceFailure.UNREACHABLE


def test_audio_alone_is_no_video() -> None:
    with RtspServer("--no-video") as server, running(server.url()) as source:
        error = source.wait_for_end()
    assert error is not None
    assert error.reason is SourceFailure.NO_VIDEO


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_killed_server_ends_the_source_and_a_new_one_reads_from_the_restarted(
    transport: str, clip: Path
) -> None:
    with RtspServer("--file", str(clip)) as first:
        with running(first.url(), transport=transport, read_timeout_s=1.0) as source:
            source.wait_for_frames(3)
            first.kill()
            error = source.wait_for_end()
        assert error is not None
        assert error.reason in (
            SourceFailure.ENDED,
            SourceFailure.TIMEOUT,
            SourceFailure.UNREACHABLE,
        )
        with (
            RtspServer("--file", str(clip), port=first.port) as second,
            running(second.url(), transport=transport) as source,
        ):
            source.wait_for_frames(3)


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_server_that_falls_silent_is_a_timeout(transport: str, clip: Path) -> None:
    with (
        RtspServer("--file", str(clip)) as server,
        running(server.url(), transport=transport, read_timeout_s=1.0) as source,
    ):
        source.wait_for_frames(3)
        server.freeze()
        frozen_s = time.monotonic()
        error = source.wait_for_end()
        lasted_s = time.monotonic() - frozen_s
    assert error is not None
    assert error.reason is SourceFailure.TIMEOUT
    assert 0.8 <= lasted_s < 5.0


def test_stop_ends_a_flowing_stream_at_once(server: RtspServer) -> None:
    with running(server.url(), read_timeout_s=30.0) as source:
        source.wait_for_frames(2)
        source.stop.set()
        stopped_s = time.monotonic()
        assert source.wait_for_end() is None
    assert time.monotonic() - stopped_s < 2


def test_slow_consumer_is_not_taken_for_a_silent_camera(server: RtspServer) -> None:
    """Only the time spent waiting for the camera counts as silence."""
    slow = iter([0.6, 0.6, 0.6])
    with running(server.url(), read_timeout_s=0.5) as source:
        source.output.on_frame = lambda _: time.sleep(next(slow, 0.0))
        source.wait_for_frames(8)
        assert source.error is None


def test_a_backlog_is_thrown_away(server: RtspServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that decodes slower than the camera sends must not fall ever further behind."""
    monkeypatch.setattr("streamer.sources.container._BACKLOG_AFTER_S", 0.5)
    with running(server.url()) as source:
        source.output.on_frame = lambda _: time.sleep(0.15)  # the camera sends every 0.04 s
        frames = source.wait_for_frames(24)[:24]
    assert source.output.drops[DropReason.BEHIND] > 0
    lags_s = [
        frame.arrival_monotonic_ns / 1e9 - float(frame.pts * frame.time_base)
        for frame in frames
        if frame.pts is not None
    ]
    # Without dropping, the last of them would be 2.5 s behind the first.
    assert max(lags_s) - lags_s[0] < 2.0


def test_rtsps(clip: Path, tmp_path: Path) -> None:
    key, certificate, pem = tmp_path / "key", tmp_path / "certificate", tmp_path / "pem"
    command = f"req -x509 -newkey rsa:2048 -nodes -days 2 -keyout {key} -out {certificate}"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(["openssl", *command.split(), *subject], check=True, capture_output=True)
    pem.write_text(certificate.read_text() + key.read_text())
    with RtspServer("--file", str(clip), "--tls-pem", str(pem), scheme="rtsps") as server:
        with running(server.url()) as source:
            source.wait_for_frames(2)
        verified = {"tls_verify": "1", "ca_file": str(certificate)}
        with running(server.url(), options=verified) as source:
            source.wait_for_frames(2)
        with running(server.url(), options={"tls_verify": "1"}) as source:
            error = source.wait_for_end()
        assert error is not None


def test_four_streams_of_one_server_run_side_by_side(server: RtspServer) -> None:
    sources = [running(server.url()) for _ in range(4)]
    with sources[0], sources[1], sources[2], sources[3]:
        for source in sources:
            source.wait_for_frames(10)
    for source in sources:
        steps = {(b - a) % CLIP_LENGTH for a, b in itertools.pairwise(numbers(source))}
        assert steps == {1}


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_second_client_joins_beside_audio(transport: str, server: RtspServer) -> None:
    """GStreamer's server fails if the first client leaves the audio track out."""
    first, second = (running(server.url(), transport=transport) for _ in range(2))
    with first:
        first.wait_for_frames(3)
        with second:
            second.wait_for_frames(3)
