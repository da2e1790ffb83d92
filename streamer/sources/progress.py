"""What an open container has delivered so far, and whether more of its file follows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import av
import av.container

from streamer.errors import SourceError, SourceFailure
from streamer.sources.opening import ContainerSettings

# Files in which another one may follow, with tracks of its own: they join with ``cat``.
_JOINABLE = ("mpegts", "mpeg")
# Less than this after the last packet is padding: 16 packets of a transport stream.
_UNREAD_BYTES = 16 * 188
# Failures less pictures: from the first number on a picture is doubtful, the second is the most. A
# decoder that is given another codec also finds a few pictures between very many failures.
_DOUBTFUL, _MOST_TROUBLE = 8, 20


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
        self.trouble = min(self.trouble + 1, _MOST_TROUBLE)

    def picture_came(self) -> bool:
        """Count an undamaged picture; whether to believe it, between failures."""
        self.trouble = max(0, self.trouble - 1)
        if self.trouble >= _DOUBTFUL:
            return False
        self.pictures += 1
        self.packets_without_picture = 0
        return True

    @property
    def next_piece(self) -> int | None:
        """Where a file goes on after our track ended, in bytes; None if it does not."""
        name, size = self.container.format.name, self.container.size
        if not self.pictures or name not in _JOINABLE or size <= 0:
            return None
        # Tracks that ran beside ours do not count. Packets come in the order of their ends.
        if any(begin > self._our_last for begin in self._other_video.values()):
            return self._our_end
        return self._end if self.unread_bytes else None

    @property
    def unread_bytes(self) -> int:
        """The bytes after the last packet, in formats that end with one."""
        if self.container.format.name not in (*_JOINABLE, "flv"):
            return 0
        unread = self.container.size - self._end
        return unread if unread > _UNREAD_BYTES else 0


def nothing_came(settings: ContainerSettings, progress: Progress) -> SourceError:
    """Why media that ended had no picture."""
    if not progress.packets:
        return settings.failure(SourceFailure.NO_VIDEO, "ended without any video")
    return settings.failure(
        SourceFailure.GARBAGE, "ended without one picture that could be decoded"
    )


def no_picture(
    settings: ContainerSettings, progress: Progress, stream: av.VideoStream
) -> SourceError:
    """Why no picture came in time, or none of very many packets."""
    packets = progress.packets_without_picture
    limit_s, setting = settings.open_timeout_s, "open_timeout_s"
    if progress.pictures:
        limit_s, setting = settings.read_timeout_s, "read_timeout_s"
    if not packets:
        return settings.failure(
            SourceFailure.TIMEOUT, f"sent no video for {limit_s:.1f} s ({setting})"
        )
    # Without a width, not even the stream's parameters could be parsed.
    if progress.trouble or not stream.codec_context.width:
        return settings.failure(
            SourceFailure.GARBAGE,
            f"sent {packets} packets and no picture that could be decoded; check the camera's "
            "codec settings",
        )
    return settings.failure(
        SourceFailure.TIMEOUT,
        f"sent {packets} packets and no keyframe; let the camera send them more often, or raise "
        f"{setting} ({limit_s:.1f} s)",
    )
