"""The wire format: golden bytes of every kind of message, versions, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from streamer.errors import WireError, WireVersionError
from streamer.types import EventKind, StreamEvent
from streamer.wire.codec import (
    EventMessage,
    FrameMessage,
    HeartbeatMessage,
    MaskEncoding,
    StatusMessage,
    Topic,
    TopicKind,
    decode,
    encode_event,
    encode_frame,
    encode_heartbeat,
    encode_status,
)
from tests.streamer.wire import wire_samples as samples

GOLDEN = Path(__file__).parent / "golden"
NESTED = msgspec.Raw(b"\x91" * 200_000 + b"\xc0")
NEXT_SEQ = {"frame": 42, "boxes": 42, "event": 4, "status": 6}


def golden(name: str) -> list[bytes]:
    """The parts of a message of version 1, one a line; never to be changed, only added to."""
    return [bytes.fromhex(line) for line in (GOLDEN / f"{name}.hex").read_text().split()]


def frame(
    encoding: str = "rle", kind: TopicKind = TopicKind.FRAME, replayed: bool = False
) -> list[bytes]:
    return encode_frame(
        samples.result(dropped={"superseded": 2}),
        origin=samples.ORIGIN,
        seq=41,
        published_clock_ns=samples.published_clock_ns,
        encoding=MaskEncoding(encoding),
        kind=kind,
        replayed=replayed,
    )


def heartbeat(seq: int, stopping: bool = False) -> list[bytes]:
    return encode_heartbeat(
        origin=samples.ORIGIN,
        seq=seq,
        time_ns=samples.CAPTURE_NS,
        interval_s=1.0,
        streams=["gate"],
        stopping=stopping,
    )


def frame_message(name: str) -> FrameMessage:
    message = decode(golden(name))
    assert isinstance(message, FrameMessage)
    return message


def changed(name: str, **keys: object) -> list[bytes]:
    """A golden message with other values in its header."""
    topic, header, *parts = golden(name)
    fields = msgspec.msgpack.decode(header) | keys
    return [topic, msgspec.msgpack.encode(fields), *parts]


def test_frames_are_written_as_the_golden_bytes() -> None:
    assert frame("rle") == golden("frame_rle")
    assert frame("none") == golden("frame_without_masks")
    assert frame(replayed=True) == golden("frame_replayed")
    assert frame(kind=TopicKind.BOXES) == golden("boxes")


@pytest.mark.parametrize("encoding", ["bits", "polygon"])
def test_headers_of_packed_masks_are_written_as_the_golden_bytes(encoding: str) -> None:
    # zstd and OpenCV produce the parts; their versions may encode the same mask differently.
    assert frame(encoding)[:2] == golden(f"frame_{encoding}")[:2]


def test_the_end_of_an_absence_and_a_cut_are_written_as_the_golden_bytes() -> None:
    back = replace(samples.event(EventKind.REACQUIRED), absent_s=4.25, reason="prompted")
    assert encode_event(back, origin=samples.ORIGIN, seq=4) == golden("event_reacquired")
    cut = StreamEvent("gate", EventKind.SCENE_CUT, samples.CAPTURE_NS, frame_index=7)
    assert encode_event(cut, origin=samples.ORIGIN, seq=5) == golden("event_scene_cut")
    read = decode(golden("event_reacquired"))
    assert isinstance(read, EventMessage)
    assert (read.kind, read.absent_s, read.reason) == ("reacquired", 4.25, "prompted")


def test_calibrated_scores_and_further_boxes_travel_and_are_left_out_where_there_is_none() -> None:
    plain = samples.result()
    first, second = plain.objects
    guessed = replace(second, track=replace(second.track, predicted_box_xyxy=(1.5, 2.0, 3.0, 4.0)))
    calibrated = replace(
        first,
        track=replace(first.track, calibrated_iou=0.75),
        smooth_box_xyxy=(10.25, 20.0, 15.5, 26.0),
    )
    parts = encode_frame(
        replace(plain, objects=(calibrated, guessed)),
        origin=samples.ORIGIN,
        seq=41,
        published_clock_ns=samples.published_clock_ns,
    )
    message = decode(parts)
    assert isinstance(message, FrameMessage)
    assert [each.score_calibrated for each in message.objects] == [0.75, None]
    boxes = [each.bbox_smooth for each in message.objects]
    assert boxes == [(10.25, 20.0, 15.5, 26.0), None]
    assert [each.bbox_expected for each in message.objects] == [None, (1.5, 2.0, 3.0, 4.0)]
    assert message.objects[0].score == 0.875


def test_events_states_and_heartbeats_are_written_as_the_golden_bytes() -> None:
    assert encode_event(samples.event(), origin=samples.ORIGIN, seq=3) == golden("event")
    written = encode_status(samples.status(), origin=samples.ORIGIN, seq=5, next_seq=NEXT_SEQ)
    assert written == golden("status")
    assert heartbeat(9) == golden("heartbeat")
    assert heartbeat(10, stopping=True) == golden("heartbeat_stopping")


@pytest.mark.parametrize("name", ["frame_rle", "frame_bits"])
def test_golden_masks_are_read_as_they_were(name: str) -> None:
    message = frame_message(name)
    seen, unseen = message.objects
    expected = np.zeros((samples.HEIGHT, samples.WIDTH), dtype=np.bool_)
    expected[20:26, 10:15] = samples.l_shape()
    np.testing.assert_array_equal(message.mask(seen), expected)
    np.testing.assert_array_equal(message.crop(seen), samples.l_shape())
    assert not message.mask(unseen).any()
    assert message.mask(unseen).shape == expected.shape


def test_a_golden_polygon_is_read_up_to_its_outline() -> None:
    message = frame_message("frame_polygon")
    crop = message.crop(message.objects[0])
    assert crop.shape == samples.l_shape().shape
    assert np.count_nonzero(crop != samples.l_shape()) <= 3


def test_golden_frame_has_times_positions_and_objects() -> None:
    message = frame_message("frame_rle")
    header = message.header
    assert (message.topic, message.stream_id) == (Topic(TopicKind.FRAME, "gate"), "gate")
    assert (header.publisher_id, header.epoch, header.seq) == (
        "masklet-test",
        1_700_000_000_000,
        41,
    )
    assert (header.frame_index, header.pts, header.time_base) == (7, 25_200, (1, 90_000))
    assert header.capture_time_ns == samples.CAPTURE_NS
    assert header.clock_source == "rtcp_sr"
    times = header.stage_times_ns
    assert (times.decoded, times.started, times.tracked, times.published) == (
        5_000_000,
        6_000_000,
        26_000_000,
        27_000_000,
    )
    assert header.dropped_since_last == {"superseded": 2}
    assert not header.replayed
    assert frame_message("frame_replayed").header.replayed
    first, second = header.objects
    assert (first.id, first.label, first.state) == (1, "ball", "visible")
    assert (first.bbox, first.area, first.score) == ((10, 20, 15, 26), 18, 0.875)
    assert (second.id, second.label, second.mask) == (2, None, None)


def test_colour_travels_and_is_left_out_where_there_is_none() -> None:
    """So that what was published before objects had colours is the same, byte for byte."""
    plain = samples.result()
    first, second = plain.objects
    coloured = replace(plain, objects=(replace(first, colour="#e69f00"), second))
    parts = encode_frame(
        coloured,
        origin=samples.ORIGIN,
        seq=0,
        published_clock_ns=samples.published_clock_ns,
    )
    message = decode(parts)
    assert isinstance(message, FrameMessage)
    assert [each.colour for each in message.objects] == ["#e69f00", None]
    keys = [set(each) for each in msgspec.msgpack.decode(parts[1])["objects"]]
    assert keys[0] - keys[1] >= {"colour"}


def test_boxes_and_encoding_none_carry_no_masks() -> None:
    for name in ("boxes", "frame_none", "frame_without_masks"):
        message = frame_message(name)
        assert message.parts == ()
        assert [entry.mask for entry in message.objects] == [None, None]
        assert message.objects[0].bbox == (10, 20, 15, 26)


def test_coco_rle_of_a_golden_frame_covers_the_whole_frame() -> None:
    message = frame_message("frame_rle")
    rle = message.coco_rle(message.objects[0])
    assert rle["size"] == [samples.HEIGHT, samples.WIDTH]
    empty = message.coco_rle(message.objects[1])
    assert empty["size"] == [samples.HEIGHT, samples.WIDTH]
    assert rle["counts"] != empty["counts"]


def test_golden_events_states_and_heartbeats_are_read() -> None:
    event = decode(golden("event"))
    assert isinstance(event, EventMessage)
    assert (event.kind, event.object_id, event.label, event.seq) == ("occluded", 2, "keeper", 3)
    assert event.topic == Topic(TopicKind.EVENT, "gate")
    status = decode(golden("status"))
    assert isinstance(status, StatusMessage)
    assert (status.state, status.object_ids, status.next_seq) == ("live", [1, 2], NEXT_SEQ)
    heartbeat = decode(golden("heartbeat_stopping"))
    assert isinstance(heartbeat, HeartbeatMessage)
    assert (heartbeat.state, heartbeat.streams) == ("stopping", ["gate"])


def test_keys_and_words_of_a_later_minor_version_are_passed_over() -> None:
    event = decode(changed("event", schema="masklet/1.7", kind="teleported", colour="red"))
    assert isinstance(event, EventMessage)
    assert event.kind == "teleported"


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (changed("event", schema="masklet/2"), "schema 'masklet/2'; this reader knows masklet/1"),
        (changed("event", schema="masklet/10", time_ns="now"), "'masklet/10'"),
        ([b"v2/frame/gate/", b""], "'v2/frame/gate/' is of version v2; this reader knows v1"),
    ],
)
def test_another_major_version_is_a_typed_error(parts: list[bytes], message: str) -> None:
    with pytest.raises(WireVersionError, match=message):
        decode(parts)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([], "got 0 part"),
        ([b"v1/event/gate/"], "got 1 part"),
        ([b"weather/today", b"\x80"], "'weather/today' is not one of this interface"),
        ([b"v1/frame/", b"\x80"], "not one of this interface"),
        ([b"v1/frame/gate", b"\x80"], "not one of this interface"),
        ([b"v1/heartbeat/gate/", b"\x80"], "not one of this interface"),
        ([b"\xff\xfe", b"\x80"], "not one of this interface"),
        ([b"v1/event/gate/", b"\xc1"], "not a EventMessage"),
        ([b"v1/event/gate/", b"\x80"], "missing required field `schema`"),
        ([b"v1/event/gate/", msgspec.msgpack.encode({"schema": "other/1"})], "schema 'other/1'"),
        (changed("event", seq=-1), "seq"),
        (changed("frame_rle", width=70_000), "width"),
        (changed("frame_rle", objects=[{"id": 1}]), "state"),
        (changed("frame_rle", width=65_535, height=65_535), "65535 x 65535 pixels is too large"),
        ([b"v1/event/gate/", b"\x81\xa6schema\xa1\xff"], "not a EventMessage"),
        (changed("event", later_key=NESTED), "not a EventMessage: maximum recursion"),
    ],
)
def test_what_is_no_message_is_a_wire_error(parts: list[bytes], message: str) -> None:
    with pytest.raises(WireError, match=message):
        decode(parts)


def test_masks_that_do_not_fit_their_frame_are_refused() -> None:
    too_small = decode(changed("frame_rle", width=12))
    assert isinstance(too_small, FrameMessage)
    with pytest.raises(WireError, match="object 1: its mask extends beyond the frame"):
        too_small.mask(too_small.objects[0])
    without_parts = decode(golden("frame_rle")[:2])
    assert isinstance(without_parts, FrameMessage)
    with pytest.raises(WireError, match="its mask is part 0, the message has 0"):
        without_parts.mask(without_parts.objects[0])


@pytest.mark.parametrize("stream_id", ["", "a/b"])
def test_a_stream_id_that_would_break_topics_is_refused(stream_id: str) -> None:
    with pytest.raises(WireError, match="cannot be a topic"):
        Topic(TopicKind.FRAME, stream_id).encode()
