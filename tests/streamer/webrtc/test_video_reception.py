"""What a publisher may send of packets before it costs others something."""

from __future__ import annotations

import pytest
from aiortc.rtp import RTP_HISTORY_SIZE, RtpPacket

from streamer.webrtc.frame_assembler import FrameAssembler
from streamer.webrtc.video_reception import BoundedNackGenerator


@pytest.fixture
def assembler() -> FrameAssembler:
    return FrameAssembler({}, lambda picture: None, lambda: None)


def packet(sequence_number: int, ssrc: int = 1) -> RtpPacket:
    made = RtpPacket(payload_type=96, sequence_number=sequence_number & 0xFFFF)
    made.ssrc = ssrc
    return made


def test_gap_is_asked_for(assembler: FrameAssembler) -> None:
    nack = BoundedNackGenerator(assembler)
    assert not nack.add(packet(65_534))
    assert nack.add(packet(2))
    assert nack.missing == {65_535, 0, 1}
    assert not nack.add(packet(0))
    assert nack.missing == {65_535, 1}


@pytest.mark.parametrize("jump", [RTP_HISTORY_SIZE + 1, 32_767, 40_000, 65_000])
def test_jump_begins_a_new_sequence(assembler: FrameAssembler, jump: int) -> None:
    nack = BoundedNackGenerator(assembler)
    nack.add(packet(0))
    assert nack.add(packet(3))
    assert not nack.add(packet(3 + jump))
    assert not nack.missing
    assert nack.add(packet(3 + jump + 2))
    assert nack.missing == {(3 + jump + 1) & 0xFFFF}


def test_other_sources_leave_no_gaps(assembler: FrameAssembler) -> None:
    nack = BoundedNackGenerator(assembler)
    assembler.ssrc = 1
    nack.add(packet(0))
    assert not nack.add(packet(10, ssrc=2))
    assert not nack.add(packet(1))
    assert not nack.missing
