"""What a publisher may send of packets before it costs others something."""

from __future__ import annotations

import pytest
from aiortc.rtp import RTP_HISTORY_SIZE, RtpPacket

from streamer.errors import SourceError
from streamer.webrtc.frame_assembler import FrameAssembler
from streamer.webrtc.video_reception import MAXIMUM_SOURCES, BoundedNackGenerator
from tests.streamer.webrtc.conftest import Ingest
from tests.streamer.webrtc.publisher import Publisher
from tests.streamer.webrtc.waiting import until


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


async def test_publisher_with_ever_more_sources_is_disconnected(ingest: Ingest) -> None:
    with ingest.source() as source:
        async with Publisher(ingest.whip, codec="VP8") as publisher:
            await publisher.publish()
            await until(lambda: source.output.frames, "a frame")
            session = ingest.publishers.session(publisher.session_id)
            assert session is not None
            transport = publisher.connection.getTransceivers()[0].sender.transport
            (payload_type,) = [
                number
                for number, codec in session.peer._assembler._codec_names.items()
                if codec == "VP8"
            ]
            for ssrc in range(1, MAXIMUM_SOURCES + 1):
                stranger = packet(ssrc, ssrc)
                stranger.payload_type = payload_type
                stranger.payload = b"\x10\x00"
                await transport._send_rtp(stranger.serialize())
            await until(session.peer.ended.is_set, "the end of the connection")
            await until(
                lambda: ingest.publishers.session(publisher.session_id) is None,
                "the end of the session",
            )
            await until(lambda: source.error is not None, "the source's error")
            assert isinstance(source.error, SourceError)
