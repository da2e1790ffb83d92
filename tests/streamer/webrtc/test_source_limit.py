"""Peers that send as ever more sources."""

from __future__ import annotations

import struct

import pytest
from aiortc.rtp import RtpPacket

from streamer.webrtc.aiortc_patches import MAXIMUM_SOURCES
from tests.streamer.api.webrtc.publisher import Publisher
from tests.streamer.webrtc.conftest import Ingest
from tests.streamer.webrtc.waiting import until


def rtp(ssrc: int) -> bytes:
    made = RtpPacket(payload_type=97, sequence_number=ssrc)
    made.ssrc = ssrc
    made.payload = b"\x10\x00"
    return made.serialize()


def rtcp(ssrc: int) -> bytes:
    """A receiver report on nothing."""
    return struct.pack("!BBHI", 0x80, 201, 1, ssrc)


@pytest.mark.parametrize("packet_of", [rtp, rtcp])
async def test_publisher_with_ever_more_sources_is_disconnected(
    ingest: Ingest, packet_of: object
) -> None:
    with ingest.source() as source:
        async with Publisher(ingest.whip) as publisher:
            await publisher.publish()
            await until(lambda: source.output.frames, "a frame")
            transport = publisher.connection.getTransceivers()[0].sender.transport
            for ssrc in range(1, MAXIMUM_SOURCES + 1):
                await transport._send_rtp(packet_of(ssrc))
            await until(
                lambda: ingest.publishers.session(publisher.session_id) is None,
                "the end of the session",
            )
            await until(lambda: source.error is not None, "the source's error")


async def test_publisher_with_a_few_sources_stays(ingest: Ingest) -> None:
    with ingest.source() as source:
        async with Publisher(ingest.whip) as publisher:
            await publisher.publish()
            await until(lambda: source.output.frames, "a frame")
            transport = publisher.connection.getTransceivers()[0].sender.transport
            for ssrc in range(1, MAXIMUM_SOURCES - 5):
                await transport._send_rtp(rtp(ssrc))
            count = len(source.output.frames)
            await until(lambda: len(source.output.frames) > count + 10, "further frames")
