"""ICE candidates as peers write them (RFC 8839, section 5.1), and those that can be used."""

from __future__ import annotations

import ipaddress
import re

from aiortc import RTCIceCandidate
from aiortc.sdp import candidate_to_sdp

from streamer.webrtc.session_description import SdpError

_CANDIDATE = re.compile(
    r"(?P<foundation>[A-Za-z0-9+/]{1,32}) (?P<component>\d{1,3}) (?P<transport>[A-Za-z-]{1,8}) "
    r"(?P<priority>\d{1,10}) (?P<address>[\w.:%-]{1,255}) (?P<port>\d{1,5}) "
    r"typ (?P<type>[a-z]{1,8})(?P<rest>( \S+)*)",
    re.ASCII,
)
_UFRAG = re.compile(r" ufrag (\S+)")
# The name that a browser gives instead of its address; asked for on the local network only.
_MDNS_NAME = re.compile(r"[A-Za-z0-9-]{1,63}\.local")
_TYPES = ("host", "srflx", "relay")


def read_candidate(text: str, mid: str) -> RTCIceCandidate | None:
    """The candidate behind ``a=candidate:``; None for one that cannot be used here.

    That is TCP, a second component, or a name that only DNS could resolve: no name server is
    asked for what a stranger names. Raises ``SdpError`` (400) for what is no candidate.
    """
    match = _CANDIDATE.fullmatch(text.strip())
    if match is None or int(match["priority"]) >= 2**32 or int(match["port"]) > 65_535:
        raise SdpError(400, "an a=candidate line is none (RFC 8839, section 5.1)")
    if (
        match["transport"].lower() != "udp"
        or match["component"] != "1"
        or match["type"] not in _TYPES
        or int(match["port"]) == 0
        or not _is_reachable(match["address"])
    ):
        return None
    return RTCIceCandidate(
        component=1,
        foundation=match["foundation"],
        ip=match["address"],
        port=int(match["port"]),
        priority=int(match["priority"]),
        protocol="udp",
        type=match["type"],
        sdpMid=mid,
    )


def candidate_ufrag(text: str) -> str | None:
    """The user fragment that a candidate names for itself (``ufrag`` extension)."""
    match = _UFRAG.search(text)
    return match[1] if match else None


def write_candidate(candidate: RTCIceCandidate) -> str:
    """The line ``a=candidate:…`` without its end."""
    return f"a=candidate:{candidate_to_sdp(candidate)}"


def _is_reachable(address: str) -> bool:
    if _MDNS_NAME.fullmatch(address):
        return True
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return not (parsed.is_multicast or parsed.is_unspecified or "%" in address)
