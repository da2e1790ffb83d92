"""Session descriptions (SDP, RFC 8866) from strangers, read strictly line by line.

Only the lines used here are read, each against its grammar; all others are left out. A library
only gets descriptions that are written anew from the values read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAXIMUM_BYTES = 65_536
_MAXIMUM_SECTIONS = 16

_MEDIA = re.compile(
    r"(?P<kind>[a-z]{1,16}) (?P<port>\d{1,5})(/\d{1,5})? (?P<protocol>[A-Z/]{1,32}) "
    r"(?P<formats>[\w-]{1,32}( [\w-]{1,32}){0,127})",
    re.ASCII,
)
_MID = re.compile(r"[!#$%&'*+.^_`{|}~\w-]{1,64}", re.ASCII)
_DIRECTIONS = ("sendrecv", "sendonly", "recvonly", "inactive")


class SdpError(ValueError):
    """A description that cannot be used; ``status`` is 400 (not SDP) or 422 (not this SDP)."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Attributes:
    """The ``a=`` lines of a section or of the session, in order, without the ``a=``."""

    lines: tuple[str, ...]

    def has(self, name: str) -> bool:
        """Whether there is a flag ``a=name``."""
        return name in self.lines

    def values(self, name: str) -> list[str]:
        """The values of all ``a=name:`` lines."""
        prefix = name + ":"
        return [line[len(prefix) :] for line in self.lines if line.startswith(prefix)]

    def value(self, name: str) -> str | None:
        """The value of the first ``a=name:`` line; None without one."""
        return next(iter(self.values(name)), None)

    def direction(self) -> str | None:
        """The first of ``sendrecv``, ``sendonly``, …; None without one."""
        return next((line for line in self.lines if line in _DIRECTIONS), None)


@dataclass(frozen=True, slots=True)
class MediaSection:
    """One media section (``m=``)."""

    kind: str
    port: int
    protocol: str
    formats: tuple[str, ...]
    mid: str
    direction: str
    attributes: Attributes

    @property
    def is_rejected(self) -> bool:
        """Port 0 means that the section is not used, unless it is carried by another one."""
        return self.port == 0 and not self.attributes.has("bundle-only")


@dataclass(frozen=True, slots=True)
class Description:
    """A whole description: the session's attributes, its sections, and their bundle."""

    attributes: Attributes
    sections: tuple[MediaSection, ...]
    bundled_mids: tuple[str, ...]

    def section(self, mid: str) -> MediaSection | None:
        """The section called ``mid``."""
        return next((each for each in self.sections if each.mid == mid), None)


def read_description(body: bytes) -> Description:
    """The description in ``body``.

    Raises ``SdpError``: 400 for what is not SDP, 422 for SDP that WebRTC does not use.
    """
    lines = read_lines(body)
    if not lines or lines[0] != "v=0":
        raise SdpError(400, "the body is no session description: it must begin with v=0")
    starts = [index for index, line in enumerate(lines) if line.startswith("m=")]
    if len(starts) > _MAXIMUM_SECTIONS:
        raise SdpError(422, f"the description has {len(starts)} media sections, not 1 to 16")
    session = _attributes(lines[: starts[0]] if starts else lines)
    ends = [*starts[1:], len(lines)]
    sections = tuple(
        _section(lines[start:end], session) for start, end in zip(starts, ends, strict=False)
    )
    mids = [section.mid for section in sections]
    if len(set(mids)) != len(mids):
        raise SdpError(422, "two media sections have the same a=mid")
    return Description(session, sections, _bundled_mids(session))


def read_lines(body: bytes) -> list[str]:
    """The lines of SDP text, ``type=value`` each. Raises ``SdpError`` (400) for anything else."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise SdpError(400, "the body is not text in UTF-8") from None
    lines = re.split(r"\r\n|\r|\n", text)
    while lines and not lines[-1]:
        lines.pop()
    for number, line in enumerate(lines, start=1):
        if not re.match(r"[a-z]=", line) or not line.isprintable():
            raise SdpError(400, f"line {number} of the body is no line of SDP (such as a=sendonly)")
    return lines


def _section(lines: list[str], session: Attributes) -> MediaSection:
    match = _MEDIA.fullmatch(lines[0][2:])
    if match is None or int(match["port"]) > 65_535:
        raise SdpError(400, "a media line is not m=KIND PORT PROTOCOL FORMATS")
    attributes = _attributes(lines)
    mid = attributes.value("mid")
    if mid is None or not _MID.fullmatch(mid):
        raise SdpError(422, f"the {match['kind']} section has no a=mid that can be used")
    return MediaSection(
        kind=match["kind"],
        port=int(match["port"]),
        protocol=match["protocol"],
        formats=tuple(match["formats"].split(" ")),
        mid=mid,
        direction=attributes.direction() or session.direction() or "sendrecv",
        attributes=attributes,
    )


def _attributes(lines: list[str]) -> Attributes:
    return Attributes(tuple(line[2:].strip() for line in lines if line.startswith("a=")))


def _bundled_mids(session: Attributes) -> tuple[str, ...]:
    for group in session.values("group"):
        semantics, _, mids = group.partition(" ")
        if semantics == "BUNDLE":
            return tuple(mids.split())
    return ()
