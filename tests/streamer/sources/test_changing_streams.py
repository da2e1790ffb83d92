"""Streams whose programme changes, begins late or ends: followed, or a typed failure in time."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from streamer.config.streams import StreamConfig
from streamer.errors import SourceFailure
from streamer.sources import make_source
from tests.conftest import eventually
from tests.integration.rtsp.clips import CLIP_LENGTH, read_number
from tests.scripted.media import pieces, sound_alone, with_duration, with_late_video, without_pid
from tests.scripted.rtmp import ScriptedRtmpServer
from tests.scripted.server import ScriptedServer, Sending
from tests.streamer.sources.recorder import Recorder, RunningSource, run_to_end

FAST_HZ = 100  # faster than the pictures' own 25 Hz, to save time


def running(server: ScriptedServer, **timeouts: float) -> RunningSource:
    settings = {"open_timeout_s": 20.0, "read_timeout_s": 20.0, **timeouts}
    return RunningSource(make_source("gate", StreamConfig(url=server.url, **settings)))


def numbers(output: Recorder) -> list[int]:
    return [read_number(frame.pixels.rgb()) for frame in output.frames]


def counted(first: int, last: int) -> list[int]:
    return [index % CLIP_LENGTH for index in range(first, last)]


def plays(*parts: list[bytes]) -> ScriptedServer:
    """A camera that sends one part after the other, and the last one again and again."""

    def script(camera: Sending) -> None:
        for part in parts:
            camera.play(part, FAST_HZ)
        while True:
            camera.play(parts[-1], FAST_HZ)

    return ScriptedServer(script)


@pytest.mark.parametrize("sound", [None, "mp2"], ids=["new PIDs", "new PIDs and a new track"])
def test_a_programme_with_new_pids_is_followed(sound: str | None) -> None:
    first = pieces("mpegts", 20, first_pid=256)
    second = pieces("mpegts", 40, first_pid=512, start=20, sound=sound)
    with plays(first, second) as server, running(server) as source:
        source.wait_for_frames(50)
    assert numbers(source.output)[:19] == counted(0, 19)
    # FFmpeg gives up the picture it holds when the tables change.
    assert numbers(source.output)[20:48] == counted(21, 49)


@pytest.mark.parametrize(
    "second",
    [
        pieces("mpegts", 40, first_pid=512, codec="mpeg2video"),
        pieces("mpegts", 40, first_pid=256, codec="mpeg2video"),
        pieces(
            "mpegts",
            40,
            first_pid=512,
            options={"mpegts_service_id": "7", "mpegts_pmt_start_pid": "4200"},
        ),
    ],
    ids=["another codec", "another codec and the same PID", "another programme"],
)
def test_a_programme_that_cannot_be_followed_is_a_failure_in_time(second: list[bytes]) -> None:
    changed_s: list[float] = []
    first = pieces("mpegts", 20, first_pid=256)

    def script(camera: Sending) -> None:
        camera.play(first, FAST_HZ)
        changed_s.append(time.monotonic())
        while True:
            camera.play(second, FAST_HZ)

    with ScriptedServer(script) as server, running(server, read_timeout_s=0.7) as source:
        error = source.wait_for_end()
        lasted_s = time.monotonic() - changed_s[0]
    assert error is not None
    assert error.reason in (SourceFailure.TIMEOUT, SourceFailure.GARBAGE)
    assert lasted_s < 5  # 0.7 s on an idle machine; it was for ever
    # A decoder finds pictures in what is not meant for it, too: they are not shown.
    assert numbers(source.output)[:18] == counted(0, 18)
    assert len(source.output.frames) <= 22
    with plays(second) as server, running(server) as again:
        again.wait_for_frames(30)


def test_stop_ends_a_read_that_finds_only_unknown_tracks() -> None:
    first = pieces("mpegts", 20, first_pid=256)
    options = {"mpegts_service_id": "7", "mpegts_pmt_start_pid": "4200"}
    second = pieces("mpegts", 40, first_pid=512, options=options)
    with plays(first, second) as server, running(server, read_timeout_s=60.0) as source:
        source.wait_for_frames(15)
        source.stop.set()
        assert source.wait_for_end() is None


def test_stop_ends_the_opening() -> None:
    with ScriptedServer(Sending.stay) as server, running(server, open_timeout_s=60.0) as source:
        eventually(lambda: server.connections, what="a connection")
        source.stop.set()
        source.wait_for_end()


def test_a_sender_that_hangs_up_after_a_change_has_ended() -> None:
    media = [*pieces("mpegts", 20), *pieces("mpegts", 10, sound="mp2")]
    server = ScriptedServer(lambda camera: camera.play(media, FAST_HZ))
    with server, running(server) as source:
        error = source.wait_for_end()
    assert error is not None
    assert error.reason is SourceFailure.ENDED


def test_of_two_tracks_of_video_the_one_that_sends_is_shown() -> None:
    """The tables name a second track before the one that sends: a dead encoder of two."""
    media = b"".join(pieces("mpegts", 40, first_pid=256))
    other = b"".join(pieces("mpegts", 1, first_pid=300))
    dead = without_pid(other, 300)
    packets = [(dead + media)[at : at + 564] for at in range(0, len(dead + media), 564)]
    server = ScriptedServer(lambda camera: camera.play(packets, 300))
    with server, running(server) as source:
        source.wait_for_end()
    assert len(source.output.frames) >= 38


@pytest.mark.parametrize("scheme", ["tcp", "rtmp"])
def test_a_duration_in_the_header_makes_no_recording_of_a_live_stream(scheme: str) -> None:
    """A recording rests at its end, and is paced: what a stall delayed would stay late for good."""
    flv = with_duration(pieces("flv", 60), 3600.0)
    sent_s: list[float] = []

    def script(camera: Sending) -> None:
        camera.play(flv[:15])
        camera.wait(1.2)
        camera.send(b"".join(flv[15:45]))
        for piece in flv[45:]:
            camera.wait(0.04)
            sent_s.append(time.monotonic())
            camera.send(piece)

    server = ScriptedRtmpServer(script) if scheme == "rtmp" else ScriptedServer(script, scheme)
    with server, running(server, read_timeout_s=5.0) as source:
        error = source.wait_for_end()
    assert error is not None
    assert error.reason is SourceFailure.ENDED
    assert numbers(source.output) == counted(0, 60)
    late_s = [
        frame.arrival_monotonic_ns / 1e9 - sent
        for frame, sent in zip(source.output.frames[45:], sent_s, strict=True)
    ]
    assert min(late_s) < 0.5, "the delay of the stall went away"


def test_opening_lasts_until_the_first_picture_and_no_longer() -> None:
    """FFmpeg would look at an FLV for five seconds, and deliver them late."""
    sent = []
    flv = pieces("flv", 100, keyframe_every=5)

    def script(camera: Sending) -> None:
        for piece in flv:
            sent.append(piece)
            camera.send(piece)
            camera.wait(0.04)

    with ScriptedServer(script) as server, running(server) as source:
        source.wait_for_frames(1)
        assert len(sent) < 50


@pytest.mark.parametrize("with_metadata", [False, True])
def test_video_that_begins_late_is_waited_for(with_metadata: bool) -> None:
    flv = with_late_video(pieces("flv", 60, sound="aac"), 1.2, with_metadata=with_metadata)

    def script(camera: Sending) -> None:
        camera.play(flv, 200)
        camera.stay()

    with ScriptedServer(script) as server, running(server, read_timeout_s=3.0) as source:
        frames = source.wait_for_frames(20)
    assert numbers(source.output)[:20] == counted(30, 50)
    assert not source.output.drops
    assert [frame.pixels.width for frame in frames[:20]] == [160] * 20


def test_video_that_the_tables_name_late_is_waited_for() -> None:
    def script(camera: Sending) -> None:
        camera.play(sound_alone(0.4))
        camera.play(pieces("mpegts", 120, sound="mp2"), FAST_HZ)
        camera.stay()

    server = ScriptedServer(script)
    with server, running(server, open_timeout_s=3.0, read_timeout_s=3.0) as source:
        source.wait_for_frames(50)
    assert numbers(source.output)[:50] == counted(0, 50)


def test_a_track_that_its_tables_name_is_waited_for() -> None:
    stream = b"".join(pieces("mpegts", 60, sound="mp2", first_pid=256))
    silent = without_pid(stream[: len(stream) // 2 // 188 * 188], 256)

    def script(camera: Sending) -> None:
        camera.send(silent)
        camera.wait(1.0)
        camera.send(stream)
        camera.stay()

    with ScriptedServer(script) as server, running(server, read_timeout_s=0.3) as source:
        source.wait_for_frames(30)
    assert numbers(source.output)[:30] == counted(0, 30)


def test_sound_alone_is_no_video_after_the_open_timeout() -> None:
    flv = with_late_video(pieces("flv", 100, sound="aac"), 99.0)

    def script(camera: Sending) -> None:
        camera.play(flv, 200)

    with ScriptedServer(script) as server, running(server, open_timeout_s=1.0) as source:
        error = source.wait_for_end()
    assert error is not None
    assert error.reason is SourceFailure.NO_VIDEO
    assert "open_timeout_s" in str(error)


@pytest.mark.parametrize(("container", "codec"), [("flv", "libx264"), ("mpjpeg", "mjpeg")])
def test_the_end_of_an_http_stream_is_its_end(container: str, codec: str) -> None:
    media = pieces(container, 12, codec=codec)
    server = ScriptedServer(lambda camera: camera.play(media, FAST_HZ), "http")
    with server, running(server) as source:
        error = source.wait_for_end()
    assert error is not None
    assert error.reason is SourceFailure.ENDED
    assert str(error).endswith("ended the stream")
    assert len(source.output.frames) == 12


def test_a_receiver_of_datagrams_that_fell_behind_goes_on() -> None:
    media = pieces("mpegts", 90, keyframe_every=5)

    def script(camera: Sending) -> None:
        camera.wait(0.3)
        camera.play(media, FAST_HZ)

    with ScriptedServer(script, "udp") as server:
        config = StreamConfig(url=f"{server.url}?fifo_size=40", read_timeout_s=0.7)
        pauses = iter([0.0, 0.0, 0.5])
        with RunningSource(make_source("gate", config)) as source:
            source.output.on_frame = lambda _: time.sleep(next(pauses, 0.0))
            error = source.wait_for_end()
    assert error is not None
    assert error.reason is SourceFailure.TIMEOUT, "it ended with the sender's silence"
    assert 10 < len(source.output.frames) < 85


def test_a_recording_behind_http_is_paced_and_rests_at_its_end() -> None:
    media = b"".join(pieces("mpegts", 12))
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(media)}\r\n\r\n".encode()
    with ScriptedServer(lambda camera: camera.send(media), "http", head=head) as server:
        output, error = run_to_end(make_source("gate", StreamConfig(url=server.url)))
    assert error is None
    assert numbers(output) == counted(0, 12)
    first, *_, last = (frame.arrival_monotonic_ns / 1e9 for frame in output.frames)
    assert last - first > 0.4


def test_a_stream_that_a_server_does_not_have_is_refused() -> None:
    server = ScriptedRtmpServer(Sending.stay)
    server.refusal = "NetStream.Play.StreamNotFound"
    with server:
        _, error = run_to_end(make_source("gate", StreamConfig(url=server.url)))
    assert error is not None
    assert error.reason is SourceFailure.REFUSED
    assert "check the path" in str(error)


def test_only_a_name_that_does_not_resolve_is_called_one() -> None:
    with ScriptedServer(lambda camera: None) as server:
        _, error = run_to_end(
            make_source("gate", StreamConfig(url=server.url.replace("tcp", "rtmp") + "/a/b"))
        )
    assert error is not None
    assert "resolve" not in str(error)
    _, error = run_to_end(make_source("gate", StreamConfig(url="http://camera.invalid/x")))
    assert error is not None
    assert error.reason is SourceFailure.UNREACHABLE
    assert str(error).endswith("the host name camera.invalid does not resolve")


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("second", ["new PIDs", "another codec", "another programme"])
def test_a_file_joined_of_two_is_read_whole(second: str, loop: bool, tmp_path: Path) -> None:
    further: dict[str, dict[str, object]] = {
        "new PIDs": {},
        "another codec": {"codec": "mpeg2video"},
        "another programme": {
            "options": {"mpegts_service_id": "7", "mpegts_pmt_start_pid": "4200"}
        },
    }
    path = tmp_path / "joined.ts"
    first = b"".join(pieces("mpegts", 20, first_pid=256))
    path.write_bytes(
        first + b"".join(pieces("mpegts", 12, first_pid=512, start=20, **further[second]))
    )
    stop = threading.Event()
    output = Recorder(lambda _: stop.set() if loop and len(output.frames) >= 64 else None)
    config = StreamConfig(url=str(path), paced=False, loop=loop)
    make_source("clip", config).run(output, stop)
    expected = counted(0, 32) * (2 if loop else 1)
    assert numbers(output) == expected
    assert not output.drops
