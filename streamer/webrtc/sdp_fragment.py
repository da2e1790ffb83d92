"""Trickled ICE candidates: ``application/trickle-ice-sdpfrag`` (RFC 8840), read and written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aiortc import RTCIceCandidate

from streamer.webrtc.ice_candidate import candidate_ufrag, read_candidate, write_candidate
from streamer.webrtc.remote_video import IceCredentials, read_credentials
from streamer.webrtc.session_description import Attributes, SdpError, read_lines


@dataclass(frozen=True, slots=True)
class SdpFragment:
    """The content of one PATCH: the ICE session it is for, and its candidates."""

    credentials: IceCredentials | None
    candidates: tuple[RTCIceCandidate, ...]
    candidate_lines: int


def read_fragment(body: bytes, mid: str) -> SdpFragment:
    """The fragment in ``body``, its candidates assigned to the section ``mid``.

    Everything is bundled: a candidate of any section is one of the only transport. A candidate
    that names another ICE session than the fragment does is left out (RFC 8840, section 4.4).
    Raises ``SdpError``: 400 for what is no fragment, 422 for credentials that cannot be.
    """
    lines = read_lines(body)
    attributes = Attributes(tuple(line[2:].strip() for line in lines if line.startswith("a=")))
    if not attributes.lines:
        raise SdpError(400, "the fragment says nothing: it has no a= line")
    ufrag, password = attributes.value("ice-ufrag"), attributes.value("ice-pwd")
    credentials = None
    if ufrag is not None or password is not None:
        credentials = read_credentials(ufrag or "", password or "")
    texts = list(dict.fromkeys(attributes.values("candidate")))
    candidates = []
    for text in texts:
        candidate = read_candidate(text, mid)
        if candidate is not None and (
            credentials is None or candidate_ufrag(text) in (None, credentials.ufrag)
        ):
            candidates.append(candidate)
    return SdpFragment(
        credentials=credentials,
        candidates=tuple(candidates),
        candidate_lines=len(texts),
    )


def write_fragment(
    mid: str, credentials: IceCredentials, candidates: Sequence[RTCIceCandidate]
) -> bytes:
    """The fragment that answers an ICE restart: our new credentials, and all our candidates."""
    lines = [
        f"a=ice-ufrag:{credentials.ufrag}",
        f"a=ice-pwd:{credentials.password}",
        "m=video 9 UDP/TLS/RTP/SAVPF 0",
        f"a=mid:{mid}",
        *(write_candidate(candidate) for candidate in candidates),
        "a=end-of-candidates",
    ]
    return ("\r\n".join(lines) + "\r\n").encode()
