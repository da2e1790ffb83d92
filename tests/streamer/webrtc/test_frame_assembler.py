"""Packets that are late, lost, doubled, out of order or from elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.runtime.clock import seconds_to_ns
from streamer.webrtc.frame_assembler import (
    CAPACITY_PACKETS,
    GIVE_UP_AFTER_S,
    KEYFRAME_REQUEST_INTERVAL_S,
    SOURCE_SILENT_AFTER_S,
    EncodedPicture,
    FrameAssembler,
    is_keyframe_data,
)

KEY = b"\x00\x00\x00\x9d\x01\x2a"  # how a VP8 keyframe begins
INTER = b"\x01\x00\x00"
VP8, H264 = 96, 97


@dataclass
class Packet:
    sequence_number: int
    timestamp: int
    _data: bytes
    marker: int = 0
    payload_type: int = VP8
    ssrc: int = 1


def packets(pictures: int, *, each: int = 3, first: int = 65_530, keyframes: int = 1000):
    """Packets of several pictures; the sequence numbers wrap through zero."""
    made = []
    for picture in range(pictures):
        for part in range(each):
            begin = KEY if picture % keyframes == 0 else INTER
            made.append(
                Packet(
                    (first + len(made)) & 0xFFFF,
                    picture * 3000,
                    (begin if part == 0 else b"") + bytes([picture & 0xFF, part]),
                    marker=int(part == each - 1),
                )
            )
    return made


class Assembly:
    """An assembler with a clock turned by hand."""

    def __init__(self) -> None:
        self.now_ns = 10**12
        self.pictures: list[EncodedPicture] = []
        self.lost = 0
        self.requests = 0
        self.assembler = FrameAssembler(
            {VP8: "VP8", H264: "H264"},
            self.pictures.append,
            self.count_lost,
            monotonic_ns=lambda: self.now_ns,
            unix_ns=lambda: self.now_ns,
        )

    def count_lost(self) -> None:
        self.lost += 1

    def feed(self, *fed: Packet, step_s: float = 0.001) -> None:
        for packet in fed:
            self.now_ns += seconds_to_ns(step_s)
            requested, frame = self.assembler.add(packet)
            self.requests += requested
            assert frame is None
            assert len(self.assembler._packets) <= CAPACITY_PACKETS

    @property
    def timestamps(self) -> list[int]:
        return [picture.timestamp for picture in self.pictures]


@pytest.fixture
def assembly() -> Assembly:
    return Assembly()


def test_picture_is_complete_with_its_last_packet(assembly: Assembly) -> None:
    first = packets(1)
    assembly.feed(*first[:2])
    assert not assembly.pictures
    assembly.feed(first[2])
    (picture,) = assembly.pictures
    assert picture.data == KEY + b"\x00\x00" + b"\x00\x01" + b"\x00\x02"
    assert picture.codec_name == "VP8"
    assert picture.is_keyframe
    assert picture.arrival_monotonic_ns == assembly.now_ns


def test_picture_without_a_marker_ends_with_the_next_one(assembly: Assembly) -> None:
    made = packets(2)
    for packet in made:
        packet.marker = 0
    assembly.feed(*made[:4])
    assert assembly.timestamps == [0]


@given(st.permutations(range(12)), st.data())
def test_order_of_arrival_does_not_matter_within_a_moment(
    order: list[int], data: st.DataObject
) -> None:
    assembly = Assembly()
    made = packets(5)
    doubled = data.draw(st.lists(st.sampled_from(order), max_size=5))
    assembly.feed(*made[:3])
    assembly.feed(*(made[3 + index] for index in [*order, *doubled]), step_s=0.0)
    assert assembly.timestamps == [0, 3000, 6000, 9000, 12000]
    assert assembly.lost == 0
    assert not assembly.assembler._packets


def test_beginning_without_a_keyframe_asks_for_one_again_and_again(assembly: Assembly) -> None:
    made = packets(40, each=1)
    assembly.feed(*made[1:], step_s=0.1)
    assert not assembly.pictures
    assert assembly.lost == 39
    assert assembly.requests == int(39 * 0.1 / KEYFRAME_REQUEST_INTERVAL_S) + 1
    made[0].sequence_number = made[-1].sequence_number + 1
    assembly.feed(made[0])
    assert len(assembly.pictures) == 1


def test_lost_packet_is_given_up_and_a_keyframe_awaited(assembly: Assembly) -> None:
    made = packets(40, each=3, keyframes=20)
    missing = made.pop(16)  # of picture 5
    assembly.feed(*made, step_s=0.011)
    assert missing.timestamp == 5 * 3000
    assert assembly.timestamps == [
        picture * 3000 for picture in range(40) if picture < 5 or picture >= 20
    ]
    assert assembly.requests >= 1
    assert assembly.lost > 0


def test_packet_that_is_sent_again_in_time_loses_nothing(assembly: Assembly) -> None:
    made = packets(12)
    late = made.pop(16)
    assembly.feed(*made[:-3], step_s=GIVE_UP_AFTER_S / 40)
    assembly.feed(late)
    assert assembly.timestamps == [picture * 3000 for picture in range(11)]
    assert assembly.requests == 1  # the very first packet's


def test_long_silence_in_the_numbers_begins_anew(assembly: Assembly) -> None:
    assembly.feed(*packets(3))
    assembly.feed(*packets(3, first=30_000))
    assert assembly.timestamps == [0, 3000, 6000, 0, 3000, 6000]


def test_picture_that_never_ends_is_not_searched_again_and_again(assembly: Assembly) -> None:
    looked_at = 0

    class CountedPacket(Packet):
        def __getattribute__(self, name: str) -> object:
            nonlocal looked_at
            looked_at += name == "marker"
            return super().__getattribute__(name)

    for number in range(CAPACITY_PACKETS - 1):
        assembly.assembler.add(CountedPacket(number, 0, KEY))
    assert looked_at <= 2 * CAPACITY_PACKETS
    assert not assembly.pictures


def test_padding_is_no_picture(assembly: Assembly) -> None:
    made = packets(1)
    assembly.feed(*made)
    for offset in range(3):
        number = (made[-1].sequence_number + 1 + offset) & 0xFFFF
        assembly.feed(Packet(number, 0, b""))
    assembly.feed(*packets(1, first=made[-1].sequence_number + 4))
    assert len(assembly.pictures) == 2


def test_other_source_is_heard_when_the_first_falls_silent(assembly: Assembly) -> None:
    assembly.feed(*packets(2))
    other = packets(2, first=500)
    for packet in other:
        packet.ssrc = 2
    assembly.feed(*other)
    assert len(assembly.pictures) == 2
    assembly.now_ns += seconds_to_ns(SOURCE_SILENT_AFTER_S)
    assembly.feed(*other)
    assert len(assembly.pictures) == 4


def test_unknown_format_is_left_out(assembly: Assembly) -> None:
    made = packets(1)
    for packet in made:
        packet.payload_type = 100
    assembly.feed(*made)
    assert not assembly.pictures


def test_request_drops_what_comes_before_the_keyframe(assembly: Assembly) -> None:
    made = packets(12, each=1, keyframes=6)
    assembly.feed(*made[:3])
    assembly.assembler.request_keyframe()
    assembly.feed(*made[3:])
    assert assembly.timestamps == [n * 3000 for n in (0, 1, 2, 6, 7, 8, 9, 10, 11)]


@given(
    st.lists(
        st.builds(
            Packet,
            sequence_number=st.integers(0, 65_535) | st.integers(0, 40),
            timestamp=st.integers(0, 2**32 - 1) | st.integers(0, 5),
            _data=st.binary(max_size=12) | st.just(KEY + b"x"),
            marker=st.integers(0, 1),
            payload_type=st.sampled_from([VP8, H264, 0]),
            ssrc=st.integers(1, 2),
        ),
        max_size=200,
    ),
    st.floats(0, 0.4),
)
def test_nothing_that_comes_breaks_it(fed: list[Packet], step_s: float) -> None:
    assembly = Assembly()
    assembly.feed(*fed, step_s=step_s)
    assert all(picture.data for picture in assembly.pictures)


@pytest.mark.parametrize(
    ("codec", "data", "expected"),
    [
        ("VP8", KEY + b"x", True),
        ("VP8", INTER + KEY, False),
        ("VP8", b"", False),
        ("VP8", b"\x00" * 10, False),
        ("H264", b"\x00\x00\x00\x01\x65\x88", True),
        ("H264", b"\x00\x00\x00\x01\x09\x10\x00\x00\x00\x01\x67\x42", True),
        ("H264", b"\x00\x00\x00\x01\x41\x9a", False),
        ("H264", b"\x00\x00\x00\x01", False),
        ("H264", b"", False),
    ],
)
def test_keyframes_are_known(codec: str, data: bytes, expected: bool) -> None:
    assert is_keyframe_data(codec, data) is expected
