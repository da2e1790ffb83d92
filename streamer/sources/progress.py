"""What an open container has delivered so far, and whether more of its file follows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import av
import av.container

# Files in which another one may follow, with tracks of its own: they join with ``cat``.
_JOINABLE = ("mpegts", "mpeg")
# Less than this after the last packet is padding: 16 packets of a transport stream.
_UNREAD_BYTES = 16 * 188


@dataclass(slots=True)
class Progress:
    """Counts packets and pictures of the decoded track. Bound: an index for each track."""

    container: av.container.InputContainer
    keyframe_seen: bool = False
    packets: int = 0
    pictures: int = 0
    packets_without_picture: int = 0
    undecoded: int = 0  # given to the decoder without an error, and no picture since
    decode_errors: int = 0
    _end: int = 0  # the byte after the last packet of any track, and of ours
    _our_end: int = 0
    _beside: set[int] = field(default_factory=set)  # tracks of video that run beside ours
    _after: set[int] = field(default_factory=set)  # that began after our last packet

    def packet_came(self, packet: av.Packet[Any], *, is_ours: bool) -> None:
        """Count a packet of any track."""
        if not packet.size:
            return
        # A packet of a transport stream carries at most 184 bytes in 188.
        self._end = max(self._end, (packet.pos or 0) + packet.size * 188 // 184)
        if is_ours:
            self.packets += 1
            self.packets_without_picture += 1
            self._our_end = self._end
            self._beside |= self._after
            self._after.clear()
        elif packet.stream.type == "video" and packet.stream.index not in self._beside:
            self._after.add(packet.stream.index)

    def decoded(self, pictures: int) -> None:
        """Count what came of a packet that the decoder accepted."""
        self.undecoded = 0 if pictures else self.undecoded + 1

    def picture_came(self) -> None:
        """Count a picture that was delivered."""
        self.pictures += 1
        self.packets_without_picture = 0
        self.decode_errors = 0

    @property
    def next_piece(self) -> int | None:
        """Where a file goes on after our track ended, in bytes; None if it does not."""
        if not self.pictures or self.container.format.name not in _JOINABLE:
            return None
        if self._after:
            return self._our_end
        return self._end if self.container.size - self._end > _UNREAD_BYTES else None
