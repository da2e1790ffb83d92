"""Real aiortc publishers over real UDP: what of their media reaches a stream's source."""

from __future__ import annotations

import asyncio
import itertools
import threading
from contextlib import AsyncExitStack, ExitStack

import pytest

from streamer.api.server.principals import Login, Principal, Scope
from streamer.api.webrtc import publishers as publishers_module
from streamer.api.webrtc.publishers import TAKEOVER_AFTER_S, Publishers
from streamer.config.network import WebRTCConfig
from streamer.errors import BusyError, SourceFailure
from streamer.runtime.metrics import Metrics
from streamer.runtime.token_buckets import TokenBuckets
from streamer.types import ClockSource, DropReason
from streamer.webrtc.encoded_feed import CAPACITY_PICTURES
from tests.streamer.api.webrtc.publisher import Publisher
from tests.streamer.fakes import FakeClock
from tests.streamer.sources.recorder import Recorder, RunningSource
from tests.streamer.webrtc.conftest import Ingest, MakeIngest
from tests.streamer.webrtc.numbered_scene import NumberedTrack, read_number
from tests.streamer.webrtc.waiting import until


def numbers(output: Recorder) -> list[int]:
    return [read_number(frame.pixels.rgb()) for frame in tuple(output.frames)]


async def frames(source: RunningSource, count: int) -> None:
    await until(
        lambda: len(source.output.frames) >= count or source.error is not None, f"{count} frames"
    )
    assert source.error is None


@pytest.mark.parametrize("codec", ["VP8", "H264"])
async def test_every_frame_arrives_in_order_with_its_time(ingest: Ingest, codec: str) -> None:
    with ingest.source() as source:
        async with Publisher(ingest.whip, codec=codec) as publisher:
            await publisher.publish()
            await until(
                lambda: any(
                    frame.clock_source is ClockSource.RTCP_SR
                    for frame in tuple(source.output.frames)
                ),
                "a sender report",
            )
            assert ingest.publisher_count == 1
            got = source.output.frames[:]
            seen = [read_number(frame.pixels.rgb()) for frame in got]
            assert seen == list(range(seen[0], seen[0] + len(seen)))
            steps = {b.pts - a.pts for a, b in itertools.pairwise(got)}
            assert steps <= {2999, 3000, 3001}  # aiortc rounds down and up
            reported = next(f for f in got if f.clock_source is ClockSource.RTCP_SR)
            sent_ns = publisher.track.sent_ns[read_number(reported.pixels.rgb())]
            assert abs(reported.capture_time_ns - sent_ns) < 1_000_000_000
            assert got[0].clock_source is ClockSource.ARRIVAL
            assert not source.output.resets
            assert not source.output.drops


async def test_size_may_change_while_it_runs(ingest: Ingest) -> None:
    with ingest.source() as source:
        async with Publisher(ingest.whip, track=NumberedTrack(320, 240)) as publisher:
            await publisher.publish()
            await frames(source, 5)
            for width, height in ((480, 270), (160, 120)):
                publisher.track.size = (width, height)
                await until(
                    lambda: source.output.frames[-1].pixels.rgb().shape == (height, width, 3),  # noqa: B023
                    f"{width}x{height}",
                )
            count = len(source.output.frames)
            await frames(source, count + 5)
            assert numbers(source.output) == sorted(numbers(source.output))


async def test_audio_and_data_channel_are_refused_and_video_flows(ingest: Ingest) -> None:
    with ingest.source() as source:
        async with Publisher(ingest.whip, with_audio=True, with_data=True) as publisher:
            await publisher.publish()
            await frames(source, 5)
            answer = publisher.posted.body.decode()
            audio, video, data = answer.split("\r\nm=")[1:]
            assert audio.startswith("audio ")
            assert "a=inactive" in audio
            assert "a=recvonly" in video
            assert data.startswith("application 0 ")


async def test_answer_asks_for_the_full_size_from_the_start(make_ingest: MakeIngest) -> None:
    ingest = make_ingest(start_bitrate_kbps=1700, maximum_bitrate_kbps=2900)
    async with Publisher(ingest.whip, codec="H264") as publisher:
        await publisher.publish()
        answer = publisher.posted.body.decode()
        assert "x-google-start-bitrate=1700;x-google-max-bitrate=2900" in answer
        assert "\r\nb=AS:2900\r\n" in answer


async def test_publisher_that_deletes_its_session_ends_the_attempt(ingest: Ingest) -> None:
    with ingest.source() as source:
        async with Publisher(ingest.whip) as publisher:
            await publisher.publish()
            await frames(source, 3)
            assert (await ingest.whip.delete(publisher.session_id)).status == 200
            error = await asyncio.to_thread(source.wait_for_end)
            assert error is not None
            assert error.reason is SourceFailure.ENDED
            assert (await ingest.whip.delete(publisher.session_id)).status == 404


async def test_publisher_that_closes_its_connection_is_noticed(ingest: Ingest) -> None:
    with ingest.source() as source:
        async with Publisher(ingest.whip) as publisher:
            await publisher.publish()
            await frames(source, 3)
        error = await asyncio.to_thread(source.wait_for_end)
        assert error is not None
        assert error.reason is SourceFailure.ENDED
        await until(lambda: ingest.publisher_count == 0)


async def test_vanished_publisher_is_noticed_and_the_next_one_is_taken(
    make_ingest: MakeIngest,
) -> None:
    ingest = make_ingest(media_timeout_s=2.0)
    with ingest.source() as source:
        async with Publisher(ingest.whip) as publisher:
            await publisher.publish()
            await frames(source, 3)
            await publisher.vanish()
            error = await asyncio.to_thread(source.wait_for_end)
            assert error is not None
            assert error.reason is SourceFailure.TIMEOUT
            assert str(error) == (
                "cam1: the publisher sent no media for 2.0 s (webrtc.media_timeout_s)"
            )
    with ingest.source() as source:
        async with Publisher(ingest.whip) as publisher:
            await publisher.publish()
            await frames(source, 3)


async def test_publisher_that_never_sends_media_is_given_up(make_ingest: MakeIngest) -> None:
    ingest = make_ingest(media_timeout_s=0.5)
    track = NumberedTrack()
    track.silent = True
    async with Publisher(ingest.whip, track=track) as publisher:
        await publisher.publish()
        assert ingest.publisher_count == 1
        await until(lambda: ingest.publisher_count == 0)


async def test_silent_publisher_is_replaced_before_its_time_is_over(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishers_module, "TAKEOVER_AFTER_S", 0.2)
    with ingest.source() as source:
        async with Publisher(ingest.whip) as dead, Publisher(ingest.whip) as alive:
            await dead.publish()
            await frames(source, 3)
            await dead.vanish()
            first = ingest.publishers.session(dead.session_id)
            assert first is not None
            await until(lambda: first.silent_for_s > 0.2)
            await alive.publish()
            assert ingest.publisher_count == 1
            error = await asyncio.to_thread(source.wait_for_end)
            assert error is not None
            assert error.reason is SourceFailure.ENDED
            with ingest.source() as after:
                await frames(after, 3)


async def test_second_publisher_is_refused_while_the_first_one_sends(ingest: Ingest) -> None:
    with ingest.source() as source:
        async with Publisher(ingest.whip) as first, Publisher(ingest.whip) as second:
            await first.publish()
            await frames(source, 3)
            answer = await second.post()
            assert answer.status == 409
            assert answer.kind == "stream_taken"
            assert int(dict(answer.headers)["Retry-After"]) >= 1
            count = len(source.output.frames)
            await frames(source, count + 5)


def publisher_of(token: str, login: Login | None = None) -> Principal:
    return Principal(token, frozenset({Scope.PUBLISH}), login=login)


async def test_publisher_takes_over_its_own_stream_at_once(ingest: Ingest) -> None:
    phone = publisher_of("phone")
    with ingest.source() as source:
        async with (
            Publisher(ingest.whip, principal=phone) as before,
            Publisher(ingest.whip, principal=publisher_of("other")) as other,
            Publisher(ingest.whip, principal=phone) as again,
        ):
            await before.publish()
            await frames(source, 3)
            refused = await other.post()
            assert (refused.status, refused.kind) == (409, "stream_taken")
            assert 1 <= int(dict(refused.headers)["Retry-After"]) <= TAKEOVER_AFTER_S
            assert refused.detail is not None
            assert "If it crashed, the stream is free after 2 s" in refused.detail
            await again.publish()  # without waiting, although the first one still sends
            assert ingest.publisher_count == 1
            assert ingest.publishers.session(before.session_id) is None
            error = await asyncio.to_thread(source.wait_for_end)
            assert error is not None
            assert error.reason is SourceFailure.ENDED
            with ingest.source() as after:
                await frames(after, 3)


async def test_two_devices_of_one_token_do_not_take_the_stream_from_each_other_for_ever(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishers_module, "TAKEOVER_AFTER_S", 600.0)  # none is silent for long
    ingest.publishers._takeovers = TokenBuckets(0.01, 2, FakeClock(), 1)
    async with AsyncExitStack() as stack:
        answers = []
        for _ in range(4):
            publisher = Publisher(ingest.whip, principal=publisher_of("phone"))
            await stack.enter_async_context(publisher)
            answers.append(await publisher.post())
        assert [answer.status for answer in answers] == [201, 201, 201, 409]
        assert "Retry-After" in dict(answers[3].headers)
        assert ingest.publisher_count == 1


async def test_publisher_ends_with_the_login_it_came_with(ingest: Ingest) -> None:
    login = Login(60.0, on_ended=lambda: None)
    async with (
        Publisher(ingest.whip, principal=publisher_of("phone", login)) as publisher,
        Publisher(ingest.whip, "other", principal=publisher_of("phone", login)) as late,
    ):
        await publisher.publish()
        login.end()
        await until(lambda: ingest.publishers.session(publisher.session_id) is None)
        await late.post()  # its login ended while it was answered
        await until(lambda: ingest.publisher_count == 0)


async def test_token_has_a_share_of_the_publishers() -> None:
    config = WebRTCConfig(publishers=4)
    shares = Publishers(config, Metrics(), FakeClock(), ("phone", "other"))._shares
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(shares.hold("phone"))
        with pytest.raises(BusyError, match=r"phone has 3 of 4 .*\(webrtc\.publishers\)"):
            shares.check("phone")
        shares.check("other")


async def test_two_publishers_at_once_are_one(ingest: Ingest) -> None:
    async with Publisher(ingest.whip) as first, Publisher(ingest.whip) as second:
        answers = await asyncio.gather(first.post(), second.post())
        assert sorted(answer.status for answer in answers) == [201, 409]


async def test_slow_reader_loses_pictures_and_nothing_grows(ingest: Ingest) -> None:
    held = threading.Event()
    with ingest.source() as source:
        async with Publisher(ingest.whip) as publisher:
            await publisher.publish()
            await frames(source, 3)
            session = ingest.publishers.session(publisher.session_id)
            assert session is not None
            feed = session._feed
            source.output.on_frame = lambda _: held.wait(30)
            longest = 0
            sent = len(publisher.track.sent_ns)
            while len(publisher.track.sent_ns) < sent + 3 * CAPACITY_PICTURES:
                await asyncio.sleep(0.01)
                longest = max(longest, feed.waiting)
            assert 0 < longest <= CAPACITY_PICTURES
            receiver = session.peer.transceiver.receiver
            assert receiver.track._queue.qsize() == 0
            assert receiver._RTCRtpReceiver__decoder_queue.qsize() == 0
            source.output.on_frame = None
            held.set()
            last_sent = len(publisher.track.sent_ns)
            await until(lambda: numbers(source.output)[-1] > last_sent, "what is sent now")
            assert source.output.drops[DropReason.BEHIND] > 0
            assert numbers(source.output) == sorted(numbers(source.output))


async def test_unread_publisher_fills_nothing(ingest: Ingest) -> None:
    async with Publisher(ingest.whip) as publisher:
        await publisher.publish()
        await until(lambda: len(publisher.track.sent_ns) > 3 * CAPACITY_PICTURES)
        session = ingest.publishers.session(publisher.session_id)
        assert session is not None
        assert session._feed.waiting <= CAPACITY_PICTURES
        assert session.peer.transceiver.receiver.track._queue.qsize() == 0


async def test_damaged_pictures_lead_to_a_keyframe_and_good_pictures(ingest: Ingest) -> None:
    with ingest.source() as source:
        async with Publisher(ingest.whip, codec="VP8") as publisher:
            await publisher.publish()
            await frames(source, 3)
            session = ingest.publishers.session(publisher.session_id)
            assert session is not None
            assembler = session.peer._assembler
            assert assembler is not None
            deliver = assembler._deliver
            damaged = []

            def damage(picture):
                if len(damaged) < 3:
                    damaged.append(picture)
                    object.__setattr__(picture, "data", b"\x01\x00")
                deliver(picture)

            assembler._deliver = damage
            await until(lambda: source.output.drops[DropReason.DECODE_ERROR], "a decode error")
            count = len(source.output.frames)
            await frames(source, count + 10)
            seen = numbers(source.output)
            assert seen == sorted(seen)


async def test_stop_ends_a_source_that_waits_for_its_publisher(ingest: Ingest) -> None:
    with ingest.source() as source:
        source.stop.set()
        assert await asyncio.to_thread(source.wait_for_end) is None


async def test_closing_ends_all_publishers(ingest: Ingest) -> None:
    async with Publisher(ingest.whip, "a") as first, Publisher(ingest.whip, "b") as second:
        await first.publish()
        await second.publish()
        assert ingest.publisher_count == 2
        # aioice, on the publisher's side, leaves a task behind when closed while connecting.
        for publisher in (first, second):
            await until(lambda: publisher.track.sent_ns, "media")  # noqa: B023
        await ingest.publishers.close()
        assert ingest.publisher_count == 0
