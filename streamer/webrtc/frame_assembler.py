"""Assembles RTP packets into complete encoded pictures, in order, starting at a keyframe.

Replaces aiortc's jitter buffer and differs from it in three ways:

- a picture is complete with its last packet (marker bit), not with the first packet of the next
  picture, which saves a frame interval;
- a missing packet counts as lost after ``GIVE_UP_AFTER_S``, not after 512 later packets;
- after a loss nothing is delivered until the next keyframe, which is requested repeatedly,
  because decoders show garbage otherwise.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

# Bound: packets of the current picture and those waiting for a missing one. 1024 of 1200 bytes are
# 1.2 MB; a keyframe of a busy 1080p scene has about 300. Policy: beyond it, start afresh.
CAPACITY_PACKETS = 1024
# Time for a retransmission: it is requested at once and arrives after one round trip.
GIVE_UP_AFTER_S = 0.25
KEYFRAME_REQUEST_INTERVAL_S = 0.5
# Switch to another source (SSRC) only after the current one was silent for this long, so that the
# layers of a simulcast do not alternate.
SOURCE_SILENT_AFTER_S = 1.0

_VP8_START_CODE = b"\x9d\x01\x2a"
_NAL_START_CODE = b"\x00\x00\x00\x01"
_NAL_KEYFRAME = (5, 7)  # an instantaneous refresh, or the parameters before it


class VideoPacket(Protocol):
    """The fields we use of aiortc's ``RtpPacket``."""

    ssrc: int
    sequence_number: int
    timestamp: int
    marker: int
    payload_type: int
    _data: bytes  # the payload without the codec's packetisation; set by aiortc's receiver


@dataclass(frozen=True, slots=True)
class EncodedPicture:
    """One picture as sent; ``timestamp`` is the RTP timestamp: 32 bits, 90 kHz."""

    codec_name: str
    data: bytes
    timestamp: int
    is_keyframe: bool
    arrival_time_ns: int
    arrival_monotonic_ns: int


class FrameAssembler:
    """Implements the one method that aiortc's receiver calls on its jitter buffer: ``add``.

    ``deliver`` receives complete pictures; ``lost`` is called for each incomplete picture and for
    each that arrives before the keyframe it needs. Bound: ``CAPACITY_PACKETS``.
    """

    def __init__(
        self,
        codec_names: dict[int, str],
        deliver: Callable[[EncodedPicture], None],
        lost: Callable[[], None],
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        unix_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._codec_names = codec_names
        self._deliver = deliver
        self._lost = lost
        self._monotonic_ns = monotonic_ns
        self._unix_ns = unix_ns
        self.ssrc: int | None = None  # the current source
        self._packets: dict[int, VideoPacket] = {}  # by unwrapped sequence number
        self._next = 0
        self._looked_at = 0  # up to here, all packets are of the picture that begins at _next
        self._highest = 0
        self._gap_since_ns: int | None = None
        self._needs_keyframe = True
        self._requested_ns: int | None = None
        self.last_media_monotonic_ns: int | None = None

    def request_keyframe(self) -> None:
        """Drop every picture until the next keyframe, and request one: decoding has failed."""
        self._needs_keyframe = True

    def add(self, packet: VideoPacket) -> tuple[bool, None]:
        """Add a packet; the first value is whether a keyframe must be requested (PLI) now.

        The second value, for aiortc's decoder, is always None: pictures go to ``deliver``.
        """
        now_ns = self._monotonic_ns()
        if not self._is_from_our_source(packet, now_ns):
            return False, None
        self.last_media_monotonic_ns = now_ns
        sequence = self._counted_on(packet.sequence_number)
        if sequence - self._next >= CAPACITY_PACKETS or self._next - sequence > CAPACITY_PACKETS:
            self._start_at(packet)
            sequence = self._next
        if sequence >= self._next:
            self._packets[sequence] = packet
            self._highest = max(self._highest, sequence)
            self._take_complete_pictures(now_ns)
            self._give_up_what_is_overdue(now_ns)
        return self._must_request_keyframe(now_ns), None

    def _is_from_our_source(self, packet: VideoPacket, now_ns: int) -> bool:
        if packet.ssrc == self.ssrc:
            return True
        last_ns = self.last_media_monotonic_ns
        if last_ns is not None and now_ns - last_ns < SOURCE_SILENT_AFTER_S * 1e9:
            return False
        self.ssrc = packet.ssrc
        self._start_at(packet)
        return True

    def _start_at(self, packet: VideoPacket) -> None:
        self._packets.clear()
        self._next = self._looked_at = self._highest = packet.sequence_number
        self._gap_since_ns = None
        self._needs_keyframe = True

    def _counted_on(self, sequence_number: int) -> int:
        """Unwrap a 16-bit number to the value nearest the highest so far."""
        difference = ((sequence_number - self._highest + 0x8000) & 0xFFFF) - 0x8000
        return self._highest + difference

    def _take_complete_pictures(self, now_ns: int) -> None:
        while True:
            end = self._end_of_picture()
            if end is None:
                break
            parts = [self._packets.pop(sequence) for sequence in range(self._next, end)]
            self._next = end
            self._picture(parts, now_ns)

    def _end_of_picture(self) -> int | None:
        """One past the last packet of the first picture; None until all its packets are here."""
        first = self._packets.get(self._next)
        if first is None:
            return None
        sequence = max(self._next, self._looked_at)
        while (packet := self._packets.get(sequence)) is not None:
            if packet.timestamp != first.timestamp:
                return sequence
            sequence += 1
            if packet.marker or not packet._data:
                return sequence
        self._looked_at = sequence
        return None

    def _picture(self, parts: list[VideoPacket], now_ns: int) -> None:
        data = b"".join([part._data for part in parts])
        codec_name = self._codec_names.get(parts[0].payload_type)
        if not data or codec_name is None:  # padding: senders use it to probe bandwidth
            return
        is_keyframe = is_keyframe_data(codec_name, data)
        if self._needs_keyframe:
            if not is_keyframe:
                self._lost()
                return
            self._needs_keyframe = False
            self._requested_ns = None
        self._deliver(
            EncodedPicture(
                codec_name=codec_name,
                data=data,
                timestamp=parts[0].timestamp,
                is_keyframe=is_keyframe,
                arrival_time_ns=self._unix_ns(),
                arrival_monotonic_ns=now_ns,
            )
        )

    def _give_up_what_is_overdue(self, now_ns: int) -> None:
        """Skip the oldest gap (a missing packet followed by later ones) once it timed out."""
        if len(self._packets) > self._highest - self._next:
            self._gap_since_ns = None
            return
        if self._gap_since_ns is None:
            self._gap_since_ns = now_ns
        if now_ns - self._gap_since_ns < GIVE_UP_AFTER_S * 1e9:
            return
        self._gap_since_ns = None
        self._needs_keyframe = True
        missing = self._next
        while missing in self._packets:
            missing += 1
        self._lost()
        self._next = self._start_of_picture_after(missing)
        for sequence in [each for each in self._packets if each < self._next]:
            del self._packets[sequence]
        self._take_complete_pictures(now_ns)

    def _start_of_picture_after(self, missing: int) -> int:
        """The next certain start of a picture: after a marker, or where the timestamp changes."""
        for sequence in sorted(each for each in self._packets if each > missing):
            packet, before = self._packets[sequence], self._packets.get(sequence - 1)
            if before is not None and (before.marker or before.timestamp != packet.timestamp):
                return sequence
        return self._highest + 1

    def _must_request_keyframe(self, now_ns: int) -> bool:
        if not self._needs_keyframe:
            return False
        last_ns = self._requested_ns
        if last_ns is not None and now_ns - last_ns < KEYFRAME_REQUEST_INTERVAL_S * 1e9:
            return False
        self._requested_ns = now_ns
        return True


def is_keyframe_data(codec_name: str, data: bytes) -> bool:
    """Whether decoding can start at this picture (VP8: RFC 6386, section 9.1)."""
    if codec_name == "VP8":
        return len(data) > 6 and not data[0] & 1 and data[3:6] == _VP8_START_CODE
    position = data.find(_NAL_START_CODE)
    while 0 <= position < len(data) - len(_NAL_START_CODE):
        if data[position + len(_NAL_START_CODE)] & 0x1F in _NAL_KEYFRAME:
            return True
        position = data.find(_NAL_START_CODE, position + len(_NAL_START_CODE))
    return False
