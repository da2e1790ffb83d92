"""Offers that browsers really make, and what strangers may send instead."""

from __future__ import annotations

import asyncio
import random
import re
from pathlib import Path

import pytest
from aiortc.sdp import SessionDescription
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.api.server.principals import UNRESTRICTED
from streamer.webrtc.encoded_feed import EncodedFeed
from streamer.webrtc.http_answer import SDP, SDP_FRAGMENT
from streamer.webrtc.ice_candidate import read_candidate
from streamer.webrtc.ice_settings import IceSettings
from streamer.webrtc.offer import BitrateLimits, Offer, read_published_offer, read_viewing_offer
from streamer.webrtc.peer import Peer
from streamer.webrtc.rtp_clock import RtpCaptureClock
from streamer.webrtc.sdp_fragment import read_fragment, write_fragment
from streamer.webrtc.session_description import Attributes, SdpError
from tests.streamer.webrtc.conftest import MakeIngest

FOLDER = Path(__file__).parent / "offers"
OFFERS = {path.stem: path.read_bytes() for path in sorted(FOLDER.glob("*.sdp"))}
UFRAG, PASSWORD = "abcd", "p" * 22
CREDENTIALS = f"a=ice-ufrag:{UFRAG}\r\na=ice-pwd:{PASSWORD}\r\n".encode()


def sections(sdp: str) -> list[str]:
    return re.split(r"(?m)^m=", sdp)[1:]


async def answered(offer: Offer) -> str:
    peer = Peer(IceSettings(), "video", "recvonly")
    try:
        return await peer.answer(offer, BitrateLimits(1500, 4000))
    finally:
        await peer.close()


@pytest.mark.parametrize("name", OFFERS)
async def test_browsers_offer_is_answered_section_by_section(name: str, nothing_left: None) -> None:
    body = OFFERS[name]
    answer = await answered(read_published_offer(body))
    parsed = SessionDescription.parse(answer)
    offered = sections(body.decode())
    assert len(parsed.media) == len(offered) == len(sections(answer))
    for section, media in zip(offered, parsed.media, strict=True):
        assert section.startswith(media.kind)
        assert f"a=mid:{media.rtp.muxId}" in section
    (video,) = [media for media in parsed.media if media.kind == "video"]
    assert video.direction == "recvonly"
    assert [codec.name for codec in video.rtp.codecs] == ["VP8", "rtx", "H264", "rtx"]
    assert video.rtp.codecs[0].parameters["x-google-start-bitrate"] == "1500"
    assert "simulcast" not in answer


async def test_audio_is_inactive_and_data_rejected(nothing_left: None) -> None:
    answer = await answered(read_published_offer(OFFERS["chromium_audio_video_data"]))
    audio, video, data = sections(answer)
    assert "a=inactive" in audio
    assert not audio.startswith("audio 0 ")
    assert "a=recvonly" in video
    assert data.startswith("application 0 ")
    bundle = re.search(r"a=group:BUNDLE (.*)\r\n", answer)
    assert bundle is not None
    assert bundle[1].split() == ["0", "1"]
    for transport in ("a=ice-ufrag:", "a=fingerprint:", "a=setup:active", "a=candidate:"):
        assert transport in audio
        assert transport in video


async def test_codec_of_the_offer_keeps_its_own_parameters(nothing_left: None) -> None:
    """A profile that aiortc does not know is decoded all the same."""
    sdp = OFFERS["chromium_video"].decode()
    main_profile = re.search(r"a=fmtp:(\d+) \S*profile-level-id=(4d\w+)", sdp)
    assert main_profile is not None
    number, profile = main_profile.groups()
    alone = re.sub(r"m=video 9 (\S+) .*\r", rf"m=video 9 \1 {number}\r", sdp)
    answer = await answered(read_published_offer(alone.encode()))
    assert f"profile-level-id={profile}" in answer
    assert answer.partition("m=video ")[2].splitlines()[0].endswith(f" UDP/TLS/RTP/SAVPF {number}")


@pytest.mark.parametrize(
    ("value", "data", "problem"),
    [
        ("Z0LAH9o=,aM48gA==", b"\0\0\0\1\x67\x42\xc0\x1f\xda\0\0\0\1\x68\xce\x3c\x80", None),
        ('"<Z0LA>"', b"", "is not base64"),
        ("A" * 9000, b"", "4096 bytes"),
    ],
)
async def test_parameter_sets_of_the_offer_reach_the_feed(
    value: str, data: bytes, problem: str | None, nothing_left: None
) -> None:
    sdp = OFFERS["chromium_video"].decode()
    with_sets = re.sub(r"(a=fmtp:\d+ [^\r]*packetization-mode[^\r]*)",
                       rf"\1;sprop-parameter-sets={value}", sdp)  # fmt: skip
    offer = read_published_offer(with_sets.encode())
    peer = Peer(IceSettings(), "video", "recvonly")
    feed = EncodedFeed(RtpCaptureClock(10), asyncio.get_running_loop(),
                       request_keyframe=peer.request_keyframe, stop=lambda end: None)  # fmt: skip
    try:
        peer.receive_into(feed, offer.video)
        assert feed.parameter_sets.data == data
        assert (feed.parameter_sets.problem or "").endswith(problem or "")
        assert "sprop" not in await peer.answer(offer)
    finally:
        await peer.close()


def test_bundled_section_may_leave_its_transport_to_the_first() -> None:
    sdp = OFFERS["chromium_audio_video_data"].decode()
    start, end = sdp.index("m=video"), sdp.index("m=application")
    video = sdp[start:end].replace("m=video 9", "m=video 0")
    kept = [
        line
        for line in video.splitlines()
        if not line.startswith(("a=ice-", "a=fingerprint", "a=setup", "a=candidate"))
    ]
    changed = sdp[:start] + "\r\n".join([*kept, "a=bundle-only", ""]) + sdp[end:]
    offer = read_published_offer(changed.encode())
    whole = read_published_offer(sdp.encode())
    assert offer.video.credentials == whole.video.credentials
    assert offer.video.fingerprints == whole.video.fingerprints


def test_viewer_is_offered_no_profile_that_is_not_encoded() -> None:
    sdp = OFFERS["chromium_video"].decode().replace("a=sendonly", "a=recvonly")
    offer = read_viewing_offer(sdp.encode())
    (h264,) = [codec for codec in offer.video.codecs if codec.name == "H264"]
    assert h264.parameters["profile-level-id"].startswith("42")
    assert h264.parameters["packetization-mode"] == "1"


def test_offer_of_many_formats_is_not_searched_for_each_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    searches = 0
    values = Attributes.values

    def counted(self: Attributes, name: str) -> list[str]:
        nonlocal searches
        searches += 1
        return values(self, name)

    monkeypatch.setattr(Attributes, "values", counted)
    read_published_offer(OFFERS["chromium_video"])
    usual = searches
    offer = OFFERS["chromium_video"].decode()
    formats = " ".join(["96"] * 100)
    many = re.sub(r"(?m)^(m=video \d+ \S+ .*)$", rf"\1 {formats}", offer.replace("\r", ""))
    read_published_offer(many.encode())
    assert searches == 2 * usual


def mutations(seed: int) -> bytes:
    """A real offer with a few bytes, words or lines changed, doubled, moved or lost."""
    chance = random.Random(seed)
    lines = chance.choice(list(OFFERS.values())).split(b"\r\n")
    for _ in range(chance.randint(1, 12)):
        index = chance.randrange(len(lines))
        line = lines[index]
        match chance.randrange(8):
            case 0:
                del lines[index]
            case 1:
                lines.insert(chance.randrange(len(lines)), line)
            case 2:
                lines[index] = line[: chance.randint(0, len(line))]
            case 3:
                lines[index] = re.sub(
                    rb"\d+", lambda _: str(chance.choice([-1, 0, 65_536, 10**12])).encode(), line
                )
            case 4:
                words = line.split(b" ")
                chance.shuffle(words)
                lines[index] = b" ".join(words)
            case 5:
                position = chance.randint(0, len(line))
                lines[index] = line[:position] + chance.randbytes(3) + line[position:]
            case 6:
                lines[index] = line.partition(b":")[0] + b":"
            case 7:
                other = chance.randrange(len(lines))
                lines[index], lines[other] = lines[other], line
        if not lines:
            lines = [b""]
    return b"\r\n".join(lines)


async def test_no_mutated_offer_or_fragment_breaks_the_server(make_ingest: MakeIngest) -> None:
    """Each is answered or refused, and whatever is answered can be deleted again."""
    ingest = make_ingest()
    statuses: dict[int, int] = {}
    for seed in range(600):
        body = mutations(seed)
        answer = await ingest.whip.post("cam1", body, SDP, UNRESTRICTED)
        statuses[answer.status] = statuses.get(answer.status, 0) + 1
        assert answer.status in (201, 400, 422), answer
        if answer.status != 201:
            assert answer.detail
            continue
        session_id = dict(answer.headers)["Location"].rpartition("/")[2]
        patched = await ingest.whip.patch(session_id, mutations(seed + 1), SDP_FRAGMENT, "*")
        assert patched.status in (204, 400, 422, 503), patched
        assert (await ingest.whip.delete(session_id)).status == 200
    assert all(statuses.get(status, 0) > 20 for status in (201, 400, 422)), statuses
    assert ingest.publisher_count == 0


lines_of_sdp = st.lists(
    st.one_of(
        st.sampled_from(sorted({line for body in OFFERS.values() for line in body.split(b"\r\n")})),
        st.binary(max_size=40),
        st.builds(
            lambda name, value: f"a={name}:{value}".encode(errors="replace"),
            st.sampled_from(
                [
                    "candidate",
                    "mid",
                    "group",
                    "fingerprint",
                    "setup",
                    "rtpmap",
                    "fmtp",
                    "rtcp-fb",
                    "ssrc",
                    "ssrc-group",
                    "extmap",
                    "ice-ufrag",
                    "ice-pwd",
                ]
            ),
            st.text(max_size=30),
        ),
    ),
    max_size=60,
)


def refusal_status(error: SdpError | None) -> int | None:
    return error.status if error is not None else None


@settings(max_examples=300)
@given(lines_of_sdp)
def test_reading_raises_nothing_but_sdp_errors(lines: list[bytes]) -> None:
    body = b"\r\n".join([b"v=0", *lines])
    for read in (read_published_offer, read_viewing_offer):
        refused = None
        try:
            SessionDescription.parse(read(body).video.description())
        except SdpError as error:
            refused = error
        assert refusal_status(refused) in (None, 400, 422)


@settings(max_examples=300)
@given(lines_of_sdp)
def test_reading_fragments_raises_nothing_but_sdp_errors(lines: list[bytes]) -> None:
    refused = None
    try:
        fragment = read_fragment(b"\r\n".join(lines), "0")
        assert len(fragment.candidates) <= fragment.candidate_lines
    except SdpError as error:
        refused = error
    assert refusal_status(refused) in (None, 400, 422)


@pytest.mark.parametrize(
    ("text", "is_used"),
    [
        ("1 1 udp 2130706431 192.0.2.1 5000 typ host", True),
        ("1 1 UDP 2130706431 2001:db8::1 5000 typ host generation 0 ufrag abcd", True),
        ("1 1 udp 1 30b338aa-081d-4a86-ac8e-061239d4b23e.local 5000 typ host", True),
        ("1 1 udp 1 192.0.2.1 5000 typ srflx raddr 10.0.0.1 rport 4000", True),
        ("1 1 tcp 1 192.0.2.1 9 typ host tcptype active", False),
        ("1 2 udp 1 192.0.2.1 5000 typ host", False),
        ("1 1 udp 1 example.org 5000 typ host", False),
        ("1 1 udp 1 224.0.0.1 5000 typ host", False),
        ("1 1 udp 1 0.0.0.0 5000 typ host", False),
        ("1 1 udp 1 192.0.2.1 0 typ host", False),
        ("1 1 udp 1 192.0.2.1 5000 typ prflx", False),
    ],
)
def test_candidates_that_are_used(text: str, is_used: bool) -> None:
    assert (read_candidate(text, "0") is not None) is is_used


def test_candidates_of_another_ice_session_are_left_out() -> None:
    line = b"a=candidate:1 1 udp 1 192.0.2.1 5000 typ host ufrag %s\r\n"
    fragment = read_fragment(CREDENTIALS + line % b"abcd" + line % b"other", "0")
    assert len(fragment.candidates) == 1
    assert fragment.candidate_lines == 2


def test_fragments_are_read_as_they_are_written() -> None:
    candidate = read_candidate("1 1 udp 2130706431 192.0.2.1 5000 typ host", "0")
    assert candidate is not None
    written = read_fragment(CREDENTIALS, "0").credentials
    assert written is not None
    fragment = read_fragment(write_fragment("0", written, [candidate]), "0")
    assert fragment.credentials == written
    assert fragment.candidates == (candidate,)
