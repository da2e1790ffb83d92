"""The publisher over real sockets: what subscribers receive, and what is never encoded."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import numpy as np
import pytest
import zmq
import zmq.asyncio

import streamer.sinks.zeromq.sink as zeromq_module
from streamer.client import Subscriber
from streamer.config.schema import ZeroMQConfig
from streamer.errors import ConfigError, SecurityError
from streamer.runtime.metrics import Metrics
from streamer.sinks.zeromq.sink import INLINE_PIXELS, ZeroMQSink
from streamer.sinks.zeromq.subscriptions import Subscriptions
from streamer.types import EventKind, StreamState
from streamer.wire.codec import EventMessage, FrameMessage, HeartbeatMessage, StatusMessage, decode
from tests.streamer.sinks.zeromq.helpers import (
    eventually,
    next_frame,
    next_message,
    publisher,
    subscribed,
)
from tests.streamer.wire import wire_samples as samples


async def test_a_frame_arrives_with_its_masks() -> None:
    async with publisher() as sink:
        with Subscriber(sink.endpoint, ["gate"], ["frame"]) as subscriber:
            await subscribed(sink, 2)
            await sink.publish(samples.result())
            message = await next_frame(subscriber)
    expected = np.zeros((samples.HEIGHT, samples.WIDTH), dtype=np.bool_)
    expected[20:26, 10:15] = samples.l_shape()
    np.testing.assert_array_equal(message.mask(message.objects[0]), expected)
    assert message.header.stage_times_ns.published > 0


@pytest.mark.parametrize("encoding", ["rle", "bits", "polygon", "none"])
async def test_the_configured_encoding_is_used(encoding: str) -> None:
    async with publisher(mask_encoding=encoding) as sink:
        with Subscriber(sink.endpoint, topics=["frame"]) as subscriber:
            await subscribed(sink, 2)
            await sink.publish(samples.result())
            message = await next_frame(subscriber)
    mask = message.objects[0].mask
    assert (mask.encoding if mask is not None else "none") == encoding


async def test_large_masks_are_encoded_off_the_event_loop_and_arrive_in_order() -> None:
    crop = np.ones((600, 600), dtype=np.bool_)
    assert crop.size > INLINE_PIXELS
    tracks = [samples.track(1, crop, (5, 5), width=800, height=700)]
    async with publisher() as sink:
        with Subscriber(sink.endpoint, topics=["frame", "event"]) as subscriber:
            await subscribed(sink, 3)
            for index in range(3):
                await sink.publish(samples.result(index, tracks=tracks, width=800, height=700))
                await sink.publish(samples.event())
            received = [await next_message(subscriber) for _ in range(6)]
    assert [type(message) for message in received] == [FrameMessage, EventMessage] * 3
    first = received[0]
    assert isinstance(first, FrameMessage)
    assert first.mask(first.objects[0]).sum() == crop.size


async def test_a_subscription_to_cam1_does_not_receive_cam10() -> None:
    async with publisher() as sink:
        with Subscriber(sink.endpoint, ["cam1"], ["frame", "event"]) as subscriber:
            await subscribed(sink, 3)
            for stream_id in ("cam10", "cam1"):
                await sink.publish(samples.result(stream_id=stream_id))
                await sink.publish(samples.event(stream_id=stream_id))
            received = [await next_message(subscriber) for _ in range(2)]
    assert [message.topic.stream_id for message in received] == ["cam1", "cam1"]


async def test_topic_without_subscribers_is_not_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[str] = []
    encode_frame = zeromq_module.encode_frame

    def watched(result, **options):  # type: ignore[no-untyped-def]
        encoded.append(options["kind"].value)
        return encode_frame(result, **options)

    monkeypatch.setattr(zeromq_module, "encode_frame", watched)
    async with publisher() as sink:
        await sink.publish(samples.result(0))
        assert encoded == []
        with Subscriber(sink.endpoint, topics=["boxes"]) as subscriber:
            await subscribed(sink, 2)
            message = await next_frame(subscriber)  # the replay
            await sink.publish(samples.result(1))
            message = await next_frame(subscriber)
    assert encoded == ["boxes", "boxes"]
    assert message.parts == ()


async def test_sequence_numbers_have_no_gaps_after_a_time_without_subscribers() -> None:
    async with publisher() as sink:
        with Subscriber(sink.endpoint, topics=["frame"]) as subscriber:
            await subscribed(sink, 2)
            for index in range(3):
                await sink.publish(samples.result(index))
            assert [(await next_frame(subscriber)).header.seq for _ in range(3)] == [0, 1, 2]
        await eventually(lambda: sink.subscriptions == 0)
        for index in range(3, 6):
            await sink.publish(samples.result(index))
        with Subscriber(sink.endpoint, topics=["frame"]) as subscriber:
            await subscribed(sink, 2)
            assert (await next_frame(subscriber)).header.seq == 5
            await sink.publish(samples.result(6))
            assert (await next_frame(subscriber)).header.seq == 6


async def test_late_joiner_receives_the_last_frame_and_status() -> None:
    async with publisher() as sink:
        await sink.publish(samples.status())
        await sink.publish(samples.event(EventKind.ADDED))
        for index in range(3):
            await sink.publish(samples.result(index))
        with Subscriber(sink.endpoint, ["gate"]) as subscriber:
            received = [await next_message(subscriber) for _ in range(2)]
            await sink.publish(samples.result(3))
            live = await next_frame(subscriber)
            assert subscriber.lost == {}
    frame = next(message for message in received if isinstance(message, FrameMessage))
    status = next(message for message in received if isinstance(message, StatusMessage))
    assert (frame.header.replayed, frame.header.seq, frame.header.frame_index) == (True, 2, 2)
    assert frame.mask(frame.objects[0]).sum() == 18
    assert (status.replayed, status.seq, status.state) == (True, 0, "live")
    assert (live.header.replayed, live.header.seq) == (False, 3)


async def test_replays_for_others_are_not_delivered_twice() -> None:
    async with publisher() as sink:
        with Subscriber(sink.endpoint, topics=["frame"]) as first:
            await subscribed(sink, 2)
            await sink.publish(samples.result(0))
            assert (await next_frame(first)).header.seq == 0
            with Subscriber(sink.endpoint, topics=["frame"]) as second:
                assert (await next_frame(second)).header.replayed
                await sink.publish(samples.result(1))
                assert (await next_frame(second)).header.seq == 1
            message = await next_frame(first)
    assert (message.header.seq, message.header.replayed, first.lost) == (1, False, {})


async def test_late_joiner_does_not_receive_a_removed_object() -> None:
    async with publisher() as sink:
        await sink.publish(samples.result(0))
        await sink.publish(samples.event(EventKind.REMOVED))  # of object 2
        with Subscriber(sink.endpoint, topics=["frame"]) as subscriber:
            message = await next_frame(subscriber)
    assert [entry.id for entry in message.objects] == [1]


async def test_stopped_stream_sends_nothing_and_its_numbers_continue() -> None:
    async with publisher() as sink:
        await sink.publish(samples.result(0))
        await sink.publish(samples.status(state=StreamState.STOPPED))
        with Subscriber(sink.endpoint, topics=["frame", "status"]) as subscriber:
            await subscribed(sink, 3)
            await sink.publish(samples.result(1))
            message = await next_frame(subscriber)
            assert (message.header.seq, message.header.replayed) == (1, False)
        await eventually(lambda: sink.subscriptions == 0)
        with Subscriber(sink.endpoint, topics=["frame", "event"]) as late:
            await subscribed(sink, 3)
            await sink.publish(samples.event())
            assert isinstance(await next_message(late), EventMessage)


@pytest.mark.parametrize("state", [StreamState.ENDED, StreamState.STOPPED])
async def test_a_result_that_comes_after_the_end_is_sent_but_not_kept(state: StreamState) -> None:
    async with publisher() as sink:
        await sink.publish(samples.status(state=state))
        await sink.publish(samples.result(0))
        await sink.publish(samples.status())  # it is added again
        await sink.publish(samples.result(1))
        with Subscriber(sink.endpoint, topics=["frame"]) as subscriber:
            message = await next_frame(subscriber)
    assert (message.header.seq, message.header.replayed) == (1, True)


async def test_added_and_removed_streams_leave_bounded_state(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(zeromq_module, "RECORDS_KEPT", 5)
    monkeypatch.setattr(Subscriptions, "MAXIMUM", 8)
    async with publisher() as sink:
        await sink.publish(samples.status("gate"))
        for number in range(50):
            await sink.publish(samples.status(f"visitor-{number}"))
            await sink.publish(samples.status(f"visitor-{number}", StreamState.STOPPED))
        assert set(sink._streams) == {"gate", *(f"visitor-{each}" for each in range(46, 50))}
        assert len(sink._subscriptions._wanted) <= 8


async def test_consumers_come_and_go_without_a_trace() -> None:
    async with publisher() as sink:
        await sink.publish(samples.result(0))
        for _ in range(30):
            with Subscriber(sink.endpoint, topics=["frame"]) as subscriber:
                assert (await next_frame(subscriber)).header.replayed
        await eventually(lambda: sink.subscriptions == 0)


async def test_results_that_never_reached_the_publisher_are_counted() -> None:
    async with publisher() as sink:
        with Subscriber(sink.endpoint, topics=["frame"]) as subscriber:
            await subscribed(sink, 2)
            await sink.publish(samples.result(0, dropped={"superseded": 4}))
            # Of the nine frames between, two were superseded before the tracker.
            await sink.publish(samples.result(10, dropped={"superseded": 2, "corrupt": 1}))
            messages = [await next_frame(subscriber) for _ in range(2)]
    assert messages[0].header.dropped_since_last == {"superseded": 4}
    assert messages[1].header.dropped_since_last == {
        "superseded": 2,
        "corrupt": 1,
        "unpublished": 7,
    }


async def test_a_slow_consumer_loses_its_own_messages_only() -> None:
    """One reads nothing while 20 MB go out, more than the kernel's buffers hold; one reads all."""
    tracks = [samples.track(1, np.random.default_rng(0).random((400, 400)) > 0.5)]
    frames = 400
    async with publisher(high_water_mark=4) as sink:
        slow = Subscriber(sink.endpoint, topics=["frame"], high_water_mark=4)
        fast = Subscriber(sink.endpoint, topics=["event", "frame"])
        with slow, fast:
            await subscribed(sink, 3)
            for index in range(frames):
                await sink.publish(samples.result(index, tracks=tracks))
                assert (await next_frame(fast)).header.seq == index
            received = 0
            while await slow.receive_async(timeout_s=0.5) is not None:
                received += 1
            await sink.publish(samples.result(frames, tracks=tracks))
            last = await next_frame(slow)
            assert last.header.seq == frames
            assert 0 < received < frames
            assert slow.lost == {"v1/frame/gate/": frames - received}
            assert fast.lost == {}


async def test_states_are_repeated_and_the_heart_beats() -> None:
    statuses = [samples.status("gate"), samples.status("yard", StreamState.RETRYING)]
    async with publisher(heartbeat_s=0.02, status_s=0.02, status_provider=lambda: statuses) as sink:
        with Subscriber(sink.endpoint, topics=["status", "heartbeat"]) as subscriber:
            seen: set[tuple[str, int]] = set()
            wanted = {(name, seq) for name in ("gate", "yard", "heartbeat") for seq in (20, 21)}
            while not wanted <= seen:
                message = await next_message(subscriber)
                if isinstance(message, HeartbeatMessage):
                    seen.add(("heartbeat", message.seq))
                    assert message.state == "running"
                elif isinstance(message, StatusMessage):
                    seen.add((message.stream_id, message.seq))


async def test_last_message_reports_stopping() -> None:
    async with publisher() as sink:
        with Subscriber(sink.endpoint, topics=["status", "heartbeat"]) as subscriber:
            await subscribed(sink, 2)
            await sink.close()
            heartbeat = await next_message(subscriber)
            assert isinstance(heartbeat, HeartbeatMessage)
            assert heartbeat.state == "stopping"
            assert subscriber.publisher_stopping
            assert await subscriber.receive_async(timeout_s=0.1) is None


async def test_closing_is_bounded_though_a_consumer_does_not_read() -> None:
    crop = np.random.default_rng(0).random((400, 400)) > 0.5
    async with publisher(linger_ms=100, high_water_mark=1000) as sink:
        with Subscriber(sink.endpoint, topics=["frame"], high_water_mark=1):
            await subscribed(sink, 2)
            for index in range(300):
                await sink.publish(samples.result(index, tracks=[samples.track(1, crop)]))
            async with asyncio.timeout(10):
                await sink.close()


async def test_a_publisher_may_be_started_where_one_was_closed() -> None:
    async with publisher() as sink:
        endpoint = sink.endpoint
        subscriber = Subscriber(endpoint, topics=["event"])
        with subscriber:
            await subscribed(sink, 2)
            await sink.publish(samples.event())
            await next_message(subscriber)
            await sink.close()
            async with publisher(endpoint) as again:
                # ZeroMQ subscribes again in the calls that receive, not by itself.
                while again.subscriptions < 2:
                    assert await subscriber.receive_async(timeout_s=0.01) is None
                await again.publish(samples.event())
                message = await next_message(subscriber)
                assert isinstance(message, EventMessage)
                assert (message.seq, subscriber.restarts) == (0, 1)


async def test_an_ipc_socket_is_0660(tmp_path: Path) -> None:
    path = tmp_path / "results.sock"
    async with publisher(f"ipc://{path}") as sink:
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        with Subscriber(f"ipc://{path}", topics=["event"]) as subscriber:
            await subscribed(sink, 2)
            await sink.publish(samples.event())
            assert isinstance(await next_message(subscriber), EventMessage)
        with pytest.raises(ConfigError, match="another process listens there"):
            async with publisher(f"ipc://{path}"):
                pass


async def test_an_address_in_use_is_an_error_that_names_it() -> None:
    async with publisher() as sink:
        with pytest.raises(ConfigError, match=f"{sink.endpoint} cannot be bound: Address already"):
            async with publisher(sink.endpoint):
                pass


async def test_an_open_address_is_refused_without_keys() -> None:
    sink = ZeroMQSink(ZeroMQConfig(endpoint="tcp://0.0.0.0:5555"), publisher_id="masklet-test")
    with pytest.raises(SecurityError, match="masklet keys KEYS --client NAME"):
        await sink.start()


async def test_what_a_peer_sends_that_is_no_subscription_is_ignored() -> None:
    async with publisher() as sink:
        context = zmq.asyncio.Context()
        peer = context.socket(zmq.XSUB)
        peer.connect(sink.endpoint)
        for message in (b"", b"hello", b"\x01other", b"\x00v1/frame/", b"\x01v1/event/gate/"):
            await peer.send(message)
        await subscribed(sink, 1)
        await sink.publish(samples.event())
        async with asyncio.timeout(20):
            assert isinstance(decode(await peer.recv_multipart()), EventMessage)
        assert sink.subscriptions == 1
        peer.close(linger=0)
        context.term()


async def test_messages_and_subscriptions_are_counted() -> None:
    metrics = Metrics()
    async with publisher(metrics=metrics) as sink:
        with Subscriber(sink.endpoint, topics=["frame", "event"]) as subscriber:
            await subscribed(sink, 3)
            await sink.publish(samples.result())
            await sink.publish(samples.event())
            for _ in range(2):
                await next_message(subscriber)
            exposition = metrics.exposition().decode()
    assert 'masklet_zmq_messages_sent_total{kind="frame"} 1.0' in exposition
    assert 'masklet_zmq_messages_sent_total{kind="event"} 1.0' in exposition
    assert 'kind="boxes"' not in exposition
    assert "masklet_zmq_subscribers 3.0" in exposition


async def test_flood_of_subscriptions_does_not_block_other_work() -> None:
    """A waiting message is received at once: without a pause, no other task would run."""
    flood = 800  # libzmq drops subscriptions past a high-water mark of 1000
    taken = [0]
    async with publisher() as sink:
        context = zmq.Context()
        with context.socket(zmq.SUB) as socket:
            socket.linger = 0
            socket.connect(sink.endpoint)
            for number in range(flood):
                socket.subscribe(f"v1/frame/s{number}/".encode())
            while taken[-1] < flood:
                await asyncio.sleep(0)
                taken.append(sink.subscriptions)
        context.term()
    assert max(np.diff(taken)) <= 2  # between two turns of ours
