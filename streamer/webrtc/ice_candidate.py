"""Reads and writes ICE candidates (RFC 8839, section 5.1); unusable ones are filtered out."""

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
# The name a browser sends instead of its address; resolved on the local network only (mDNS).
_MDNS_NAME = re.compile(r"[A-Za-z0-9-]{1,63}\.local")
_TYPES = ("host", "srflx", "relay")


def read_candidate(text: str, mid: str) -> RTCIceCandidate | None:
    """Parse the value of ``a=candidate:``; None for a candidate that cannot be used here.

    Unusable are TCP, a second component, and host names: we never query DNS for a name that an
    untrusted peer supplied. Raises ``SdpError`` (400) for a malformed candidate.
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
    """The user fragment in a candidate's ``ufrag`` extension; None without one."""
    match = _UFRAG.search(text)
    return match[1] if match else None


def write_candidate(candidate: RTCIceCandidate) -> str:
    """The line ``a=candidate:…`` without its line ending."""
    return f"a=candidate:{candidate_to_sdp(candidate)}"


def _is_reachable(address: str) -> bool:
    if _MDNS_NAME.fullmatch(address):
        return True
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return not (parsed.is_multicast or parsed.is_unspecified or "%" in address)
