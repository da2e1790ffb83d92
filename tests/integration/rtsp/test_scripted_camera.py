"""What cameras do wrong, and what becomes of it."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable

import pytest

from streamer.config.streams import StreamConfig
from streamer.errors import SourceFailure
from streamer.sources import make_source
from streamer.types import ClockSource, DecodedFrame, DropReason
from tests.integration.rtsp.clips import CLIP_LENGTH, encode, read_number
from tests.integration.rtsp.scripted_server import RtpSender, ScriptedRtspServer
from tests.streamer.sources.recorder import RunningSource

TICKS = 3600  # of the RTP clock between two pictures at 25 Hz
INTERVAL_S = 0.01  # the scripts send faster than that; only the presentation times are at 25 Hz


def running(
    server: ScriptedRtspServer,
    *,
    open_timeout_s: float = 5.0,
    read_timeout_s: float = 2.0,
    clock_tolerance_s: float = 10.0,
) -> RunningSource:
    config = StreamConfig(
        url=server.url,
        open_timeout_s=open_timeout_s,
        read_timeout_s=read_timeout_s,
        clock_tolerance_s=clock_tolerance_s,
    )
    return RunningSource(make_source("gate", config))


def send_all(sender: RtpSender, units: list[bytes], first_timestamp: int = 0) -> int:
    """Send pictures one after the other; returns the timestamp after them."""
    for index, unit in enumerate(units):
        sender.access_unit(unit, first_timestamp + index * TICKS)
        sender.wait(INTERVAL_S)
    return first_timestamp + len(units) * TICKS


def test_rtp_garbage_is_given_up_after_the_open_timeout() -> None:
    noise = random.Random(1)

    def script(sender: RtpSender) -> None:
        timestamp = 0
        while not sender.stopped.is_set():
            sender.packet(noise.randbytes(300), timestamp)
            sender.wait(0.02)
            timestamp += TICKS

    with ScriptedRtspServer(script) as server, running(server, open_timeout_s=1.0) as source:
        started_s = time.monotonic()
        error = source.wait_for_end()
    assert error is not None
    assert error.reason is SourceFailure.GARBAGE
    assert 0.9 <= time.monotonic() - started_s < 5
    assert not source.output.frames
    assert sum(source.output.drops.values()) > 0


def test_pictures_before_the_first_keyframe_are_counted_and_not_shown() -> None:
    units = encode("h264", 16, keyframe_every=8)

    def script(sender: RtpSender) -> None:
        send_all(sender, units[3:])

    with ScriptedRtspServer(script) as server, running(server) as source:
        frames = source.wait_for_frames(7)
    assert [read_number(frame.pixels.rgb()) for frame in frames[:7]] == [8, 9, 10, 11, 12, 13, 14]
    assert source.output.drops[DropReason.NO_KEYFRAME] == 5


def test_a_camera_without_keyframes_is_given_up() -> None:
    units = encode("h264", 100, keyframe_every=100)

    def script(sender: RtpSender) -> None:
        send_all(sender, units[1:])

    with ScriptedRtspServer(script) as server, running(server, open_timeout_s=0.6) as source:
        error = source.wait_for_end()
    assert error is not None
    assert error.reason in (SourceFailure.GARBAGE, SourceFailure.TIMEOUT)
    assert not source.output.frames


@pytest.mark.parametrize(
    ("second_start", "said"),
    [(-80_000, "went back"), (90_000 * 3600, "jumped ahead")],
)
def test_a_presentation_time_jump_is_reported_and_survived(second_start: int, said: str) -> None:
    units = encode("h264", 16)

    def script(sender: RtpSender) -> None:
        end = send_all(sender, units, first_timestamp=1_000_000)
        send_all(sender, units, first_timestamp=end + second_start)

    with ScriptedRtspServer(script) as server, running(server) as source:
        frames = source.wait_for_frames(30)
        assert source.error is None
    assert len(source.output.resets) == 1
    assert said in source.output.resets[0]
    assert [read_number(frame.pixels.rgb()) for frame in frames[:30]] == [*range(16), *range(14)]


def test_a_change_of_size_is_followed() -> None:
    small = encode("h264", 8)
    large = encode("h264", 8, width=320, height=192)

    def script(sender: RtpSender) -> None:
        send_all(sender, large, send_all(sender, small))

    with ScriptedRtspServer(script) as server, running(server) as source:
        frames = source.wait_for_frames(14)
    sizes = [frame.pixels.rgb().shape for frame in frames[:14]]
    assert sizes == [(128, 160, 3)] * 8 + [(192, 320, 3)] * 6
    assert [read_number(frame.pixels.rgb()) for frame in frames[8:14]] == list(range(6))


def send_with_reports(clock_error_s: float) -> Callable[[RtpSender], None]:
    """Pictures with a sender report before each; the camera's clock is off by so much."""
    units = encode("h264", 16)

    def script(sender: RtpSender) -> None:
        start_s = time.time()
        for index, unit in enumerate(units):
            sender.sender_report(start_s + index * 0.04 + clock_error_s, index * TICKS)
            sender.access_unit(unit, index * TICKS)
            sender.wait(INTERVAL_S)

    return script


def test_capture_time_is_the_cameras_where_it_reports_it() -> None:
    with ScriptedRtspServer(send_with_reports(3.0)) as server, running(server) as source:
        frames = source.wait_for_frames(12)[:12]
    reported = [frame for frame in frames if frame.clock_source is ClockSource.RTCP_SR]
    assert len(reported) >= 8
    for frame in reported:
        # The script sends 0.04 s of pictures every 0.01 s: the camera's clock runs ahead of ours.
        late_s = (frame.arrival_time_ns - frame.capture_time_ns) / 1e9
        assert -6 < late_s < -1.5
    times = [frame.capture_time_ns for frame in reported]
    steps_ns = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert all(abs(step_ns - 40_000_000) < 1_000_000 for step_ns in steps_ns)


@pytest.mark.parametrize("with_audio", [False, True])
def test_a_clock_that_wobbles_neither_resets_the_stream_nor_runs_backwards(
    with_audio: bool,
) -> None:
    """Beside sound, FFmpeg's own presentation times jump with every report."""
    units = encode("h264", 16)
    chance = random.Random(5)
    ahead_s = 2.0

    def script(sender: RtpSender) -> None:
        start_s, audio = time.time() + ahead_s, 0
        for index in range(250):
            if index % 13 == 6:
                wobble_s = chance.choice((-0.15, -0.1, 0.1, 0.15))
                wobble_s += 4.0 * (index == 136)  # an outlier
                sender.sender_report(start_s + index * 0.04 + wobble_s, 100_000 + index * TICKS)
            sender.access_unit(units[index % 16], 100_000 + index * TICKS)
            while with_audio and audio <= index * 320:
                sender.audio(audio)
                audio += 160
            sender.wait(0.004)

    with (
        ScriptedRtspServer(script, with_audio=with_audio) as server,
        running(server, clock_tolerance_s=60) as source,
    ):
        frames = source.wait_for_frames(248)[:248]
    assert not source.output.resets
    pts = [frame.pts for frame in frames if frame.pts is not None]
    assert len(pts) == 247, "FFmpeg loses the first"
    assert {later - earlier for earlier, later in itertools.pairwise(pts)} == {TICKS}
    assert_clock_is_steady(frames)
    start_ns = frames[-1].capture_time_ns - round(frames[-1].pts / 90_000 * 1e9)
    assert abs(start_ns - frames[0].arrival_time_ns - ahead_s * 1e9) < 0.2e9


def test_a_camera_whose_clock_is_set_restarts_nothing_and_is_followed() -> None:
    units = encode("h264", 16)
    set_by_s = 1.5

    def script(sender: RtpSender) -> None:
        start_s, audio = time.time(), 0
        for index in range(450):
            if index % 25 == 6:
                clock_s = start_s + index * 0.04 + set_by_s * (index > 125)
                sender.sender_report(clock_s, 100_000 + index * TICKS)
            sender.access_unit(units[index % 16], 100_000 + index * TICKS)
            sender.audio(audio)
            audio += 320
            sender.wait(0.004)

    with (
        ScriptedRtspServer(script, with_audio=True) as server,
        running(server, clock_tolerance_s=60) as source,
    ):
        frames = source.wait_for_frames(448)[:448]
    assert not source.output.resets
    assert_clock_is_steady(frames)
    start_ns = frames[-1].capture_time_ns - round(frames[-1].pts / 90_000 * 1e9)
    assert abs(start_ns - frames[0].arrival_time_ns - set_by_s * 1e9) < 0.1e9


def assert_clock_is_steady(frames: list[DecodedFrame]) -> None:
    """One change to the camera's clock, and capture times that only increase."""
    sources = [frame.clock_source for frame in frames]
    assert sources == sorted(sources)
    assert set(sources) == {ClockSource.ARRIVAL, ClockSource.RTCP_SR}
    times = [frame.capture_time_ns for frame in frames]
    assert all(earlier < later for earlier, later in itertools.pairwise(times))


def test_an_implausible_clock_is_not_used_and_warned_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    year_2000_s = 946_684_800 - time.time()
    with ScriptedRtspServer(send_with_reports(year_2000_s)) as server, running(server) as source:
        frames = source.wait_for_frames(12)
    assert all(frame.clock_source is ClockSource.ARRIVAL for frame in frames)
    assert all(frame.capture_time_ns == frame.arrival_time_ns for frame in frames)
    assert caplog.text.count("the camera's clock is off by") == 1


def test_video_that_stops_while_audio_continues_is_a_timeout() -> None:
    units = encode("h264", 8)

    def script(sender: RtpSender) -> None:
        send_all(sender, units)
        timestamp = 0
        while not sender.stopped.is_set():
            sender.audio(timestamp)
            sender.wait(0.02)
            timestamp += 160

    with (
        ScriptedRtspServer(script, with_audio=True) as server,
        running(server, read_timeout_s=0.5) as source,
    ):
        error = source.wait_for_end()
    assert error is not None
    assert error.reason is SourceFailure.TIMEOUT
    assert "read_timeout_s" in str(error)
    assert len(source.output.frames) >= 7


@pytest.mark.parametrize("audio_first", [True, False])
def test_sound_before_or_after_each_picture_makes_no_backlog(
    audio_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind the sound that was waited for, the picture is there at once."""
    monkeypatch.setattr("streamer.sources.container._BACKLOG_AFTER_S", 0.3)
    units = encode("h264", 40)

    def script(sender: RtpSender) -> None:
        for index, unit in enumerate(units):
            if not audio_first:
                sender.access_unit(unit, index * TICKS)
            for part in range(2):
                sender.audio((2 * index + part) * 160)
            if audio_first:
                sender.access_unit(unit, index * TICKS)
            sender.wait(0.03)

    with ScriptedRtspServer(script, with_audio=True) as server, running(server) as source:
        frames = source.wait_for_frames(38)
    assert [read_number(frame.pixels.rgb()) for frame in frames[:38]] == [
        index % CLIP_LENGTH for index in range(38)
    ]
    assert not source.output.drops


def test_silence_ends_after_the_read_timeout_not_twice_that() -> None:
    units = encode("h264", 8)
    ended_s: list[float] = []

    def script(sender: RtpSender) -> None:
        send_all(sender, units)
        ended_s.append(time.monotonic())

    with ScriptedRtspServer(script) as server, running(server, read_timeout_s=1.5) as source:
        error = source.wait_for_end()
        lasted_s = time.monotonic() - ended_s[0]
    assert error is not None
    assert error.reason is SourceFailure.TIMEOUT
    assert 1.3 <= lasted_s < 2.7


def test_damaged_picture_is_counted_and_the_stream_continues() -> None:
    units = encode("h264", 24, keyframe_every=8)
    noise = random.Random(2)
    # Cut inside the slice: what is left decodes, with an error.
    damaged = units[8][:-40] + noise.randbytes(40)

    def script(sender: RtpSender) -> None:
        send_all(sender, [*units[:8], damaged, *units[9:]])

    with ScriptedRtspServer(script) as server, running(server) as source:
        frames = source.wait_for_frames(20)
    drops = source.output.drops
    assert drops[DropReason.CORRUPT] + drops[DropReason.DECODE_ERROR] >= 1
    after = [read_number(frame.pixels.rgb()) for frame in frames[-5:]]
    assert after == list(range(after[0], after[0] + 5)), "whole again from the next keyframe"


def test_an_unknown_codec_is_named_as_the_reason() -> None:
    def script(sender: RtpSender) -> None:
        send_all(sender, [b"whatever"] * 50)

    with ScriptedRtspServer(script, encoding="X-UNHEARD-OF") as server, running(server) as source:
        error = source.wait_for_end()
    assert error is not None
    assert error.reason is SourceFailure.CODEC


def test_a_camera_that_hangs_up_is_an_error_even_where_it_named_a_length() -> None:
    units = encode("h264", 8)

    def script(sender: RtpSender) -> None:
        send_all(sender, units)
        raise ConnectionResetError  # the server closes the connection

    with (
        ScriptedRtspServer(script, session_lines="a=range:npt=0-5.0\r\n") as server,
        running(server) as source,
    ):
        error = source.wait_for_end()
    assert error is not None
    assert error.reason is SourceFailure.ENDED
    assert len(source.output.frames) >= 7
