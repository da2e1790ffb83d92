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
# Five failures in a row make pictures doubtful, and four good pictures make them credible again.
# Where every third fails, they never are.
_FAILURE, _DOUBTFUL, _MOST_TROUBLE = 2, 10, 13


@dataclass(slots=True)
class Progress:
    """Counts packets and pictures of the decoded track. Bound: an index for each track."""

    container: av.container.InputContainer
    keyframe_seen: bool = False
    packets: int = 0
    pictures: int = 0
    packets_without_picture: int = 0
    undecoded: int = 0  # given to the decoder without an error, and no picture since
    trouble: int = 0  # failures, less what was decoded since
    _our_last: int = 0  # where our last packet begins, in bytes
    _our_end: int = 0
    _end: int = 0  # of the last packet of any track
    _other_video: dict[int, int] = field(default_factory=dict)  # where each other track begins

    def packet_came(self, packet: av.Packet[Any], *, is_ours: bool) -> None:
        """Count a packet of any track."""
        if not packet.size:
            return
        begin = packet.pos or 0
        end = begin + packet.size * 188 // 184  # as a transport stream packs it, at least
        self._end = max(self._end, end)
        if is_ours:
            self.packets += 1
            self.packets_without_picture += 1
            self._our_last, self._our_end = begin, end
        elif packet.stream.type == "video":
            self._other_video.setdefault(packet.stream.index, begin)

    def decoded(self, pictures: int) -> None:
        """Count what came of a packet that the decoder accepted."""
        self.undecoded = 0 if pictures else self.undecoded + 1

    def failed(self) -> None:
        """Count a packet or picture that could not be decoded."""
        self.trouble = min(self.trouble + _FAILURE, _MOST_TROUBLE)

    def picture_came(self) -> bool:
        """Count an undamaged picture; whether to believe it.

        Between many failures it is an accident: a decoder that is given another codec finds
        pictures in it, too.
        """
        self.trouble = max(0, self.trouble - 1)
        if self.trouble >= _DOUBTFUL:
            return False
        self.pictures += 1
        self.packets_without_picture = 0
        return True

    @property
    def next_piece(self) -> int | None:
        """Where a file goes on after our track ended, in bytes; None if it does not."""
        if not self.pictures or self.container.format.name not in _JOINABLE:
            return None
        # Tracks that ran beside ours do not count. Packets come in the order of their ends.
        if any(begin > self._our_last for begin in self._other_video.values()):
            return self._our_end
        return self._end if self.container.size - self._end > _UNREAD_BYTES else None
