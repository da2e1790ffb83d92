"""The tracks of a session description (SDP, RFC 8866; in RTSP, RFC 2326, appendix C)."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass

from streamer.sources.rtsp.messages import CODING, printable

# Of one kind: video tracks that are tried, others that are set up.
MAX_TRACKS = 8
_CONTROL = "a=control:"
_STATIC_NAMES = {"26": "JPEG", "31": "H261", "32": "MPV", "33": "MP2T", "34": "H263"}


@dataclass(frozen=True, slots=True)
class Track:
    """One medium. ``uri`` is what SETUP names."""

    kind: str
    codec: str
    uri: str
    control: str
    lines: tuple[str, ...]

    def __str__(self) -> str:
        return printable(f"{self.kind} {self.codec} ({self.control or 'without a name'})")

    @property
    def is_sent_to_us(self) -> bool:
        """False for a channel back to the camera."""
        return not {"a=sendonly", "a=inactive"} & set(self.lines)


@dataclass(frozen=True, slots=True)
class SessionDescription:
    """What a camera offers. ``uri`` names all tracks together."""

    uri: str
    lines: tuple[str, ...]
    tracks: tuple[Track, ...]

    @property
    def videos(self) -> list[Track]:
        """The video tracks, those first that the camera sends; at most 8."""
        videos = [track for track in self.tracks if track.kind == "video"]
        return sorted(videos, key=lambda track: not track.is_sent_to_us)[:MAX_TRACKS]

    @property
    def others(self) -> list[Track]:
        """Sound and data that the camera sends; at most 8."""
        others = [track for track in self.tracks if track.kind != "video" and track.is_sent_to_us]
        return others[:MAX_TRACKS]

    def only(self, track: Track, control: str) -> bytes:
        """The description with this track alone, named ``control``."""
        lines = [*self.lines, *track.lines]
        kept = [line for line in lines if not line.lower().startswith(_CONTROL)]
        return "".join(f"{line}\r\n" for line in [*kept, _CONTROL + control]).encode(*CODING)


def parse_description(body: bytes, base: str) -> SessionDescription:
    """Parse a description; ``base`` is what relative names are appended to, as FFmpeg does."""
    lines = [line.strip() for line in body.decode(*CODING).splitlines() if line.strip()]
    starts = [index for index, line in enumerate(lines) if line.startswith("m=")]
    session = tuple(lines[: starts[0]] if starts else lines)
    # A session's own name counts where it is a whole address.
    named = _control(session)
    uri = named if "://" in named else base
    bounds = itertools.pairwise([*starts, len(lines)])
    tracks = tuple(_track(tuple(lines[start:end]), uri) for start, end in bounds)
    return SessionDescription(uri, session, tracks)


def _track(lines: tuple[str, ...], base: str) -> Track:
    words = lines[0].removeprefix("m=").split()
    formats = words[3:4] or [""]
    codec = _STATIC_NAMES.get(formats[0], "")
    for line in lines:
        if found := re.match(rf"a=rtpmap:{re.escape(formats[0])}\s+([^/\s]+)", line, re.IGNORECASE):
            codec = found[1]
    control = _control(lines)
    if not control or control == "*":
        uri = base
    elif "://" in control:
        uri = control
    else:
        uri = f"{base}{'' if base.endswith('/') else '/'}{control}"
    return Track(words[0].lower() if words else "", codec, uri, control, lines)


def _control(lines: tuple[str, ...]) -> str:
    named = [line[len(_CONTROL) :].strip() for line in lines if line.lower().startswith(_CONTROL)]
    return named[-1] if named else ""
