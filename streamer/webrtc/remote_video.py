"""The one video section that is used of a peer's description, rewritten for aiortc.

aiortc's parser trusts its input. It gets a description of one section, written here from
checked values; audio, data channels, further videos, simulcast and unknown codecs
never reach it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from aiortc import RTCIceCandidate

from streamer.webrtc.ice_candidate import read_candidate
from streamer.webrtc.parameter_sets import ParameterSets, read_parameter_sets
from streamer.webrtc.session_description import Attributes, Description, MediaSection, SdpError

MAXIMUM_CANDIDATES = 64
# aiortc numbers codecs of other payload types anew, which their sender would not understand.
_DYNAMIC_PAYLOAD_TYPES = range(96, 128)
_PROTOCOLS = ("UDP/TLS/RTP/SAVPF", "UDP/TLS/RTP/SAVP", "RTP/SAVPF")
_FINGERPRINT = re.compile(r"(sha-256|sha-384|sha-512) ([0-9A-F]{2}(?::[0-9A-F]{2}){31,63})", re.I)
_UFRAG = re.compile(r"[A-Za-z0-9+/_=-]{4,256}")
_PASSWORD = re.compile(r"[A-Za-z0-9+/_=-]{22,256}")
_RTPMAP = re.compile(r"(\d{1,3}) ([\w.-]{1,32})/(\d{1,8})(?:/\d{1,3})?", re.ASCII)
_FMTP = re.compile(r"(\d{1,3}) ([ -~]{1,16384})", re.ASCII)
_EXTENSION = re.compile(r"(\d{1,2})(?:/[a-z]+)? (\S{1,128})")
_EXTENSIONS = (
    "urn:ietf:params:rtp-hdrext:sdes:mid",
    "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
)
_FEEDBACK = ("nack", "nack pli", "goog-remb")
_PROFILE = re.compile(r"[0-9a-f]{6}", re.I)
# What aiortc knows of H.264. Decoding, FFmpeg takes any profile, so any is shown as this one.
_H264_SHOWN = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"


@dataclass(frozen=True, slots=True)
class IceCredentials:
    """A user fragment and its password."""

    ufrag: str
    password: str


@dataclass(frozen=True, slots=True)
class VideoCodec:
    """A codec by its payload type; ``parameters`` are the peer's own (``fmtp``).

    ``parameter_sets`` of H.264 are decoded from them.
    """

    name: str
    payload_type: int
    parameters: dict[str, str]
    feedback: tuple[str, ...]
    retransmission: int | None
    parameter_sets: ParameterSets


@dataclass(frozen=True, slots=True)
class RemoteVideo:
    """A peer's video: its transport, its codecs in our order, and its SSRCs."""

    mid: str
    direction: str
    credentials: IceCredentials
    fingerprints: tuple[str, ...]
    setup: str
    ice_lite: bool
    codecs: tuple[VideoCodec, ...]
    extensions: tuple[tuple[int, str], ...]
    ssrcs: tuple[int, ...]
    candidates: tuple[RTCIceCandidate, ...]

    def description(self) -> str:
        """A description with this section alone, without its candidates, for aiortc."""
        payload_types = [
            payload_type
            for codec in self.codecs
            for payload_type in (codec.payload_type, codec.retransmission)
            if payload_type is not None
        ]
        lines = ["v=0", "o=- 0 0 IN IP4 0.0.0.0", "s=-", "t=0 0"]
        lines += ["a=ice-lite"] if self.ice_lite else []
        lines += [
            f"a=group:BUNDLE {self.mid}",
            f"m=video 9 UDP/TLS/RTP/SAVPF {' '.join(map(str, payload_types))}",
            "c=IN IP4 0.0.0.0",
            f"a={self.direction}",
            f"a=mid:{self.mid}",
            "a=rtcp-mux",
            f"a=ice-ufrag:{self.credentials.ufrag}",
            f"a=ice-pwd:{self.credentials.password}",
            *(f"a=fingerprint:{each}" for each in self.fingerprints),
            f"a=setup:{self.setup}",
            *(f"a=extmap:{number} {uri}" for number, uri in self.extensions),
        ]
        for codec in self.codecs:
            number = codec.payload_type
            lines.append(f"a=rtpmap:{number} {codec.name}/90000")
            lines += [f"a=rtcp-fb:{number} {each}" for each in codec.feedback]
            if codec.name == "H264":
                lines.append(f"a=fmtp:{number} {_H264_SHOWN}")
            if codec.retransmission is not None:
                lines.append(f"a=rtpmap:{codec.retransmission} rtx/90000")
                lines.append(f"a=fmtp:{codec.retransmission} apt={number}")
        if len(self.ssrcs) == 2:
            lines.append(f"a=ssrc-group:FID {self.ssrcs[0]} {self.ssrcs[1]}")
        lines += [f"a=ssrc:{ssrc} cname:peer" for ssrc in self.ssrcs]
        return "\r\n".join(lines) + "\r\n"


def read_remote_video(
    description: Description, section: MediaSection, *, is_sent_to_peer: bool = False
) -> RemoteVideo:
    """The video of ``section``, with what its bundle or the session define for it.

    A video that ``is_sent_to_peer`` must be of an H.264 profile that is really encoded. Raises
    ``SdpError`` (422) naming what is missing.
    """
    if section.protocol not in _PROTOCOLS:
        raise SdpError(
            422, f"the video's protocol must be UDP/TLS/RTP/SAVPF, got {section.protocol}"
        )
    if not section.attributes.has("rtcp-mux"):
        raise SdpError(422, "the video section lacks a=rtcp-mux")
    transport = _transport(description, section)
    fingerprints = _with_session(description, transport, "fingerprint")
    usable = tuple(each for each in fingerprints if _FINGERPRINT.fullmatch(each))
    if not usable:
        raise SdpError(422, "the video section has no a=fingerprint of sha-256, -384 or -512")
    setup = next(iter(_with_session(description, transport, "setup")), "")
    if setup not in ("actpass", "active", "passive"):
        raise SdpError(422, "the video section has no a=setup of actpass, active or passive")
    return RemoteVideo(
        mid=section.mid,
        direction=section.direction,
        credentials=read_credentials(
            next(iter(_with_session(description, transport, "ice-ufrag")), ""),
            next(iter(_with_session(description, transport, "ice-pwd")), ""),
        ),
        fingerprints=usable,
        setup=setup,
        ice_lite=description.attributes.has("ice-lite"),
        codecs=_codecs(section, is_sent_to_peer=is_sent_to_peer),
        extensions=_extensions(section.attributes),
        ssrcs=_ssrcs(section.attributes),
        candidates=_candidates(section, transport),
    )


def read_credentials(ufrag: str, password: str) -> IceCredentials:
    """Both, checked. Raises ``SdpError`` (422)."""
    if not _UFRAG.fullmatch(ufrag) or not _PASSWORD.fullmatch(password):
        raise SdpError(422, "a=ice-ufrag or a=ice-pwd is missing or malformed")
    return IceCredentials(ufrag, password)


def codec_lines(section: MediaSection, payload_type: str) -> list[str]:
    """The ``rtpmap`` and ``fmtp`` lines of one format, as the peer wrote them."""
    lines = []
    for name, pattern in (("rtpmap", _RTPMAP), ("fmtp", _FMTP)):
        for value in section.attributes.values(name):
            match = pattern.fullmatch(value)
            if match and match[1] == payload_type:
                lines.append(f"a={name}:{value}")
                break
    return lines


def _transport(description: Description, section: MediaSection) -> Attributes:
    """Where the section's transport is described: a bundled one may leave it to the first."""
    if section.mid in description.bundled_mids and section.attributes.value("ice-ufrag") is None:
        first = description.section(description.bundled_mids[0])
        if first is not None:
            return first.attributes
    return section.attributes


def _with_session(description: Description, transport: Attributes, name: str) -> list[str]:
    return transport.values(name) or description.attributes.values(name)


def _candidates(section: MediaSection, transport: Attributes) -> tuple[RTCIceCandidate, ...]:
    own = section.attributes.values("candidate")
    texts = dict.fromkeys(transport.values("candidate") + own)
    if len(texts) > MAXIMUM_CANDIDATES:
        raise SdpError(422, f"the offer has more than {MAXIMUM_CANDIDATES} candidates")
    candidates = [read_candidate(text, section.mid) for text in texts]
    return tuple(each for each in candidates if each is not None)


def _codecs(section: MediaSection, *, is_sent_to_peer: bool) -> tuple[VideoCodec, ...]:
    """VP8 first, as all browsers encode it alike; then one H.264."""
    known = _named_formats(section)
    vp8 = [codec for codec in known if codec.name == "VP8"]
    h264 = sorted(
        (codec for codec in known if codec.name == "H264" and _fits(codec, is_sent_to_peer)),
        key=lambda codec: codec.parameters.get("packetization-mode") != "1",
    )
    chosen = (*vp8[:1], *h264[:1])
    if not chosen:
        raise SdpError(
            422,
            "the video is offered neither as VP8 nor as H264 (with payload types of 96 to 127); "
            "let the peer offer one of them",
        )
    return chosen


def _fits(codec: VideoCodec, is_sent_to_peer: bool) -> bool:
    profile = codec.parameters.get("profile-level-id", "42e01f")
    if not _PROFILE.fullmatch(profile):
        return False
    is_baseline = profile[:2].lower() == "42" and codec.parameters.get("packetization-mode") == "1"
    return is_baseline or not is_sent_to_peer


def _named_formats(section: MediaSection) -> list[VideoCodec]:
    """The codecs in the order of the media line, with their retransmission formats."""
    attributes = section.attributes
    names: dict[int, str] = {}
    for value in attributes.values("rtpmap"):
        match = _RTPMAP.fullmatch(value)
        if match and match[3] == "90000":
            names.setdefault(int(match[1]), match[2].upper())
    parameters: dict[int, dict[str, str]] = {}
    for value in attributes.values("fmtp"):
        match = _FMTP.fullmatch(value)
        if match:
            parameters.setdefault(int(match[1]), _parameters(match[2]))
    numbers = [int(each) for each in section.formats if each.isdecimal() and len(each) <= 3]
    usable = [each for each in numbers if each in names and each in _DYNAMIC_PAYLOAD_TYPES]
    feedback = frozenset(attributes.values("rtcp-fb"))  # once: there may be thousands of lines
    retransmissions = {
        parameters.get(number, {}).get("apt"): number for number in usable if names[number] == "RTX"
    }
    return [
        VideoCodec(
            name=names[number],
            payload_type=number,
            parameters=parameters.get(number, {}),
            feedback=tuple(
                each
                for each in _FEEDBACK
                if f"{number} {each}" in feedback or f"* {each}" in feedback
            ),
            retransmission=retransmissions.get(str(number)),
            parameter_sets=read_parameter_sets(
                parameters.get(number, {}).get("sprop-parameter-sets")
            ),
        )
        for number in usable
    ]


def _parameters(text: str) -> dict[str, str]:
    pairs = (each.strip().partition("=") for each in text.split(";"))
    return {name.lower(): value for name, _, value in pairs if name}


def _extensions(attributes: Attributes) -> tuple[tuple[int, str], ...]:
    found: dict[int, str] = {}
    for value in attributes.values("extmap"):
        match = _EXTENSION.fullmatch(value)
        if match and match[2] in _EXTENSIONS and 1 <= int(match[1]) <= 14:
            found.setdefault(int(match[1]), match[2])
    return tuple(found.items())


def _ssrcs(attributes: Attributes) -> tuple[int, ...]:
    """The video's source and that of its retransmissions; none where they are not named."""
    for group in attributes.values("ssrc-group"):
        semantics, *sources = group.split()
        if semantics == "FID" and len(sources) == 2 and all(map(_is_ssrc, sources)):
            return int(sources[0]), int(sources[1])
    named = [value.partition(" ")[0] for value in attributes.values("ssrc")]
    return tuple(int(each) for each in named[:1] if _is_ssrc(each))


def _is_ssrc(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 10 and int(text) < 2**32
