"""A peer's offer, and our answer to every section of it.

One video is accepted. Audio and further videos are answered as inactive; data channels and
unknown sections are rejected (port 0) in valid SDP, so that the video still connects.
"""

from __future__ import annotations

from dataclasses import dataclass

from streamer.webrtc.remote_video import RemoteVideo, codec_lines, read_remote_video
from streamer.webrtc.session_description import (
    Description,
    MediaSection,
    SdpError,
    read_description,
)

_SENDS = ("sendonly", "sendrecv")
_RECEIVES = ("recvonly", "sendrecv")
# The lines of a section that describe its transport: alike in all sections of a bundle.
_TRANSPORT_LINES = (
    "c=", "a=candidate:", "a=end-of-candidates", "a=ice-", "a=fingerprint:", "a=setup:",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class BitrateLimits:
    """What a publisher is asked to send: from the start, and at most."""

    start_kbps: int
    maximum_kbps: int


@dataclass(frozen=True, slots=True)
class Offer:
    """An offer of which ``video`` is accepted."""

    description: Description
    video: RemoteVideo

    def answer(self, from_library: str, bitrate: BitrateLimits | None = None) -> str:
        """The whole answer, made of aiortc's answer to the video alone."""
        lines = from_library.splitlines()
        start = next(index for index, line in enumerate(lines) if line.startswith("m="))
        session, section = lines[:start], lines[start:]
        transport = [line for line in section if line.startswith(_TRANSPORT_LINES)]
        answered: list[str] = []
        carried = self._carried_mids()
        for offered in self.description.sections:
            if offered.mid == self.video.mid:
                answered += self._video_lines(section, bitrate)
            elif offered.mid in carried:
                answered += _inactive(offered, section[0].split()[1], transport)
            else:
                answered += _rejected(offered, transport)
        session = [line for line in session if not line.startswith("a=group:")]
        group = f"a=group:BUNDLE {' '.join(carried)}"
        return "\r\n".join([*session, group, *answered]) + "\r\n"

    def _carried_mids(self) -> list[str]:
        """The sections that share the video's transport, itself included, in the offer's order."""
        bundled = self.description.bundled_mids
        return [
            section.mid
            for section in self.description.sections
            if section.mid == self.video.mid
            or (
                section.kind in ("audio", "video")
                and not section.is_rejected
                and section.mid in bundled
                and self.video.mid in bundled
            )
        ]

    def _video_lines(self, section: list[str], bitrate: BitrateLimits | None) -> list[str]:
        """aiortc's section with the peer's own codec parameters, and with our limits."""
        limits = [f"b=AS:{bitrate.maximum_kbps}"] if bitrate else []
        lines = []
        own = {f"a=fmtp:{codec.payload_type}" for codec in self.video.codecs}
        for line in section:
            if line.partition(" ")[0] in own:
                continue
            lines.append(line)
            if line.startswith("c="):
                lines += limits
        for codec in self.video.codecs:
            parameters = []
            if codec.name == "H264":
                parameters = [
                    "level-asymmetry-allowed=1",
                    f"packetization-mode={codec.parameters.get('packetization-mode', '0')}",
                    f"profile-level-id={codec.parameters.get('profile-level-id', '42e01f')}",
                ]
            if bitrate:
                # Chromium's; without them it begins with a quarter of the picture and needs
                # 40 s to reach the full size.
                parameters += [
                    f"x-google-start-bitrate={bitrate.start_kbps}",
                    f"x-google-max-bitrate={bitrate.maximum_kbps}",
                ]
            if parameters:
                lines.append(f"a=fmtp:{codec.payload_type} {';'.join(parameters)}")
        return lines


def read_published_offer(body: bytes) -> Offer:
    """An offer that sends a video (WHIP). Raises ``SdpError``, 400 or 422."""
    return _read_offer(
        body, _SENDS, "sends no video: one m=video section must be a=sendonly or a=sendrecv"
    )


def read_viewing_offer(body: bytes) -> Offer:
    """An offer to receive a video (WHEP). Raises ``SdpError``, 400 or 422."""
    return _read_offer(
        body, _RECEIVES, "receives no video: one m=video section must be a=recvonly or a=sendrecv"
    )


def _read_offer(body: bytes, directions: tuple[str, ...], refused: str) -> Offer:
    description = read_description(body)
    for section in description.sections:
        if section.kind == "video" and section.direction in directions and not section.is_rejected:
            video = read_remote_video(description, section, is_sent_to_peer=directions is _RECEIVES)
            return Offer(description, video)
    raise SdpError(422, f"the offer {refused}")


def _inactive(offered: MediaSection, port: str, transport: list[str]) -> list[str]:
    """An inactive section: understood and part of the bundle, but without media."""
    payload_type = offered.formats[0]
    return [
        f"m={offered.kind} {port} {offered.protocol} {payload_type}",
        *(line for line in transport if line.startswith("c=")),
        "a=inactive",
        f"a=mid:{offered.mid}",
        "a=rtcp-mux",
        *codec_lines(offered, payload_type),
        *(line for line in transport if not line.startswith("c=")),
    ]


def _rejected(offered: MediaSection, transport: list[str]) -> list[str]:
    """A rejected section: port 0 (RFC 3264, section 6).

    Its other lines have no meaning, but aiortc, as a publisher, refuses an answer in which a
    section has no transport.
    """
    lines = [
        f"m={offered.kind} 0 {offered.protocol} {' '.join(offered.formats)}",
        "c=IN IP4 0.0.0.0",
        "a=inactive",
        f"a=mid:{offered.mid}",
        *(line for line in transport if line.startswith(("a=ice-", "a=fingerprint:", "a=setup:"))),
    ]
    if offered.kind in ("audio", "video"):
        lines += ["a=rtcp-mux", *codec_lines(offered, offered.formats[0])]
    return lines
