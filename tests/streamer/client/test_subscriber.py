"""The subscriber: iteration, types, losses, only the newest, conversions."""

from __future__ import annotations

import asyncio
import threading

import msgspec
import numpy as np
import pytest
import supervision as sv
import zmq
from pycocotools import mask as coco_mask

from streamer.client.subscriber import Gap, Subscriber, to_supervision
from streamer.errors import ConfigError, WireError, WireVersionError
from streamer.wire.codec import (
    EventMessage,
    FrameMessage,
    MaskEncoding,
    Origin,
    TopicKind,
    decode,
    encode_event,
    encode_frame,
    encode_heartbeat,
)
from tests.conftest import eventually
from tests.streamer.wire import wire_samples as samples
from tracker.types import Track


class Publisher:
    """A bare socket that sends what a test wants to be received, in any order."""

    def __init__(self) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.XPUB)
        self._socket.bind("tcp://127.0.0.1:*")
        self.endpoint = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def wait_for_subscriptions(self, count: int) -> None:
        for _ in range(count):
            assert self._socket.poll(20_000), "nobody subscribed"
            self._socket.recv()

    def send(self, parts: list[bytes]) -> None:
        self._socket.send_multipart(parts)

    def send_event(self, seq: int, origin: Origin = samples.ORIGIN) -> None:
        self.send(encode_event(samples.event(), origin=origin, seq=seq))

    def send_frame(self, seq: int, stream_id: str = "gate") -> None:
        self.send(frame(seq, stream_id))

    def close(self) -> None:
        self._socket.close(linger=0)
        self._context.term()


@pytest.fixture
def publisher():  # type: ignore[no-untyped-def]
    made = Publisher()
    yield made
    made.close()


def frame(
    seq: int,
    stream_id: str = "gate",
    kind: TopicKind = TopicKind.FRAME,
    encoding: MaskEncoding = MaskEncoding.RLE,
    tracks: list[Track] | None = None,
) -> list[bytes]:
    return encode_frame(
        samples.result(seq, stream_id, tracks=tracks),
        origin=samples.ORIGIN,
        seq=seq,
        published_clock_ns=samples.published_clock_ns,
        encoding=encoding,
        kind=kind,
    )


def decoded_frame(
    kind: TopicKind = TopicKind.FRAME,
    encoding: MaskEncoding = MaskEncoding.RLE,
    tracks: list[Track] | None = None,
) -> FrameMessage:
    message = decode(frame(0, kind=kind, encoding=encoding, tracks=tracks))
    assert isinstance(message, FrameMessage)
    return message


def test_a_loop_over_a_subscriber_gives_typed_messages(publisher: Publisher) -> None:
    with Subscriber(publisher.endpoint) as subscriber:
        publisher.wait_for_subscriptions(4)
        publisher.send_event(0)
        publisher.send_frame(0)
        received = []
        for message in subscriber:
            received.append(type(message))
            if len(received) == 2:
                break
    assert received == [EventMessage, FrameMessage]


async def test_an_async_loop_gives_the_same(publisher: Publisher) -> None:
    with Subscriber(publisher.endpoint) as subscriber:
        publisher.wait_for_subscriptions(4)
        # Sent while the loop waits, from another thread: nothing but the socket wakes it.
        timer = threading.Timer(0.05, lambda: (publisher.send_event(0), publisher.send_frame(0)))
        timer.start()
        received = []
        async with asyncio.timeout(20):
            async for message in subscriber:
                received.append(type(message))
                if len(received) == 2:
                    break
        timer.join()
    assert received == [EventMessage, FrameMessage]


def test_timeout_returns_none(publisher: Publisher) -> None:
    with Subscriber(publisher.endpoint) as subscriber:
        assert subscriber.receive(timeout_s=0.01) is None
        assert subscriber.silent_for_s is None
    with Subscriber("tcp://127.0.0.1:1") as nobody_there:
        assert nobody_there.receive(timeout_s=0.01) is None


def test_only_subscribed_streams_and_topics_arrive(publisher: Publisher) -> None:
    with Subscriber(publisher.endpoint, ["gate", "yard"], ["frame"]) as subscriber:
        publisher.wait_for_subscriptions(3)
        for stream_id in ("gate", "gate2", "yard", "attic"):
            publisher.send_frame(0, stream_id)
        publisher.send_event(0)
        publisher.send_frame(1, "gate")
        received = [subscriber.receive(20) for _ in range(3)]
    assert [str(message.topic) for message in received if message] == [
        "v1/frame/gate/",
        "v1/frame/yard/",
        "v1/frame/gate/",
    ]


def test_losses_are_counted_by_topic_and_reported_at_once(publisher: Publisher) -> None:
    gaps: list[Gap] = []
    with Subscriber(publisher.endpoint, on_gap=gaps.append) as subscriber:
        publisher.wait_for_subscriptions(4)
        for seq in (4, 5, 9, 10):
            publisher.send_event(seq)
        publisher.send_frame(100)
        for _ in range(5):
            subscriber.receive(20)
    assert gaps == [Gap("v1/event/gate/", 6, 3)]
    assert subscriber.lost == {"v1/event/gate/": 3}


def test_restart_of_the_publisher_is_reported(publisher: Publisher) -> None:
    restarts: list[str] = []
    with Subscriber(publisher.endpoint, on_restart=lambda: restarts.append("!")) as subscriber:
        publisher.wait_for_subscriptions(4)
        publisher.send_event(7)
        publisher.send_event(0, Origin("masklet-test", samples.ORIGIN.epoch + 1))
        for _ in range(2):
            subscriber.receive(20)
    assert (subscriber.restarts, restarts, subscriber.lost) == (1, ["!"], {})


def test_stopping_is_noticed_without_a_heartbeat_subscription(publisher: Publisher) -> None:
    with Subscriber(publisher.endpoint, topics=["event"]) as subscriber:
        publisher.wait_for_subscriptions(2)
        for seq, stopping in ((0, False), (1, True)):
            publisher.send(
                encode_heartbeat(
                    origin=samples.ORIGIN, seq=seq, time_ns=0, interval_s=1, streams=[],
                    stopping=stopping,
                )
            )  # fmt: skip
        assert subscriber.receive(0.2) is None
        eventually(lambda: subscriber.receive(0.01) is None and subscriber.publisher_stopping)
        assert subscriber.silent_for_s is not None
        publisher.send_event(0)
        assert isinstance(subscriber.receive(20), EventMessage)
        assert not subscriber.publisher_stopping


def test_latest_only_skips_frames_but_never_events(publisher: Publisher) -> None:
    with Subscriber(publisher.endpoint, latest_only=True) as subscriber:
        publisher.wait_for_subscriptions(4)
        publisher.send_frame(0)
        assert subscriber.receive(20) is not None
        for seq in range(1, 11):
            publisher.send_frame(seq)
            publisher.send_frame(seq, "yard")
            publisher.send_event(seq)
        frames: dict[str, list[int]] = {"gate": [], "yard": []}
        events: list[int] = []
        while len(events) < 10 or frames["gate"][-1:] != [10] or frames["yard"][-1:] != [10]:
            message = subscriber.receive(20)
            if isinstance(message, FrameMessage):
                frames[message.stream_id].append(message.header.seq)
            elif isinstance(message, EventMessage):
                events.append(message.seq)
    assert events == list(range(1, 11))
    assert frames["gate"] == sorted(frames["gate"])
    assert subscriber.skipped == 20 - len(frames["gate"]) - len(frames["yard"])
    assert subscriber.skipped > 0
    assert subscriber.lost == {}


def test_a_message_of_another_version_is_an_error_and_the_next_one_is_read(
    publisher: Publisher,
) -> None:
    topic, header = encode_event(samples.event(), origin=samples.ORIGIN, seq=0)
    later = msgspec.msgpack.encode(msgspec.msgpack.decode(header) | {"schema": "masklet/2"})
    with Subscriber(publisher.endpoint) as subscriber:
        publisher.wait_for_subscriptions(4)
        publisher.send([topic, later])
        publisher.send([topic, b"\xc1"])
        publisher.send_event(1)
        with pytest.raises(WireVersionError, match="masklet/2"):
            subscriber.receive(20)
        with pytest.raises(WireError, match="not a EventMessage"):
            subscriber.receive(20)
        assert isinstance(subscriber.receive(20), EventMessage)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"endpoint": "127.0.0.1:5555"}, "'127.0.0.1:5555' cannot be connected to"),
        ({"endpoint": "tcp://[::1]:99999"}, ":99999' has no port between 1 and 65535"),
        ({"topics": ["frames"]}, "topic 'frames' is unknown; there are frame, boxes"),
    ],
)
def test_invalid_subscription_is_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Subscriber(**({"endpoint": "tcp://127.0.0.1:1"} | options))  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_coco_rle_is_the_mask_of_the_whole_frame() -> None:
    message = decoded_frame()
    read = coco_mask.decode(message.coco_rle(message.objects[0]))
    np.testing.assert_array_equal(read.astype(np.bool_), message.mask(message.objects[0]))


def test_supervision_detections_hold_the_visible_objects() -> None:
    message = decoded_frame()
    detections = to_supervision(message)
    assert len(detections) == 1
    assert detections.xyxy.tolist() == [[10, 20, 15, 26]]
    assert detections.mask is not None
    np.testing.assert_array_equal(detections.mask[0], message.mask(message.objects[0]))
    assert detections.confidence is not None
    assert detections.confidence.tolist() == [0.875]
    assert detections.tracker_id is not None
    assert detections.tracker_id.tolist() == [1]
    assert detections.data["class_name"].tolist() == ["ball"]


def test_supervision_detections_of_boxes_have_no_masks() -> None:
    detections = to_supervision(decoded_frame(TopicKind.BOXES))
    assert len(detections) == 1
    assert detections.mask is None


@pytest.mark.parametrize(
    ("kind", "encoding"),
    [(TopicKind.BOXES, MaskEncoding.RLE), *((TopicKind.FRAME, each) for each in MaskEncoding)],
)
def test_supervision_detections_have_the_same_fields_with_and_without_objects(
    kind: TopicKind, encoding: MaskEncoding
) -> None:
    full = to_supervision(decoded_frame(kind, encoding))
    empty = to_supervision(decoded_frame(kind, encoding, [samples.hidden(3)]))
    assert len(full) == 1
    is_without_masks = kind is TopicKind.BOXES or encoding is MaskEncoding.NONE
    assert (full.mask is None) == is_without_masks
    assert len(empty) == 0
    for name in ("xyxy", "mask", "confidence", "class_id", "tracker_id"):
        of_full, of_empty = getattr(full, name), getattr(empty, name)
        assert (of_full is None) == (of_empty is None), name
        if of_full is not None:
            assert of_empty.dtype == of_full.dtype, name
            assert of_empty.shape == (0, *of_full.shape[1:]), name
    assert list(empty.data) == list(full.data) == ["class_name"]
    assert list(zip(empty.tracker_id, empty["class_name"], strict=True)) == []  # type: ignore[arg-type]


def test_supervision_tools_take_a_frame_without_objects_between_two_with() -> None:
    frames = [
        to_supervision(decoded_frame()),
        to_supervision(decoded_frame(tracks=[samples.hidden(3)])),
    ] * 2
    height, width = frames[0].mask.shape[1:]  # type: ignore[union-attr]
    line = sv.LineZone(sv.Point(0, height // 2), sv.Point(width, height // 2))
    zone = sv.PolygonZone(np.array([[0, 0], [width, 0], [width, height], [0, height]]))
    smoother = sv.DetectionsSmoother()
    annotators = (
        sv.MaskAnnotator(),
        sv.BoxAnnotator(),
        sv.PolygonAnnotator(),
        sv.HaloAnnotator(),
        sv.LabelAnnotator(),
        sv.TraceAnnotator(),
        sv.HeatMapAnnotator(),
    )
    for detections in frames:
        picture = np.zeros((height, width, 3), dtype=np.uint8)
        for annotator in annotators:
            annotator.annotate(picture, detections)
        line.trigger(detections)
        assert zone.trigger(detections).shape == (len(detections),)
        smoother.update_with_detections(detections)
        assert len(detections[detections.confidence > 0.5]) == len(detections)  # type: ignore[operator]
    merged = sv.Detections.merge(frames)
    assert merged.tracker_id is not None
    assert merged.tracker_id.tolist() == [1, 1]
