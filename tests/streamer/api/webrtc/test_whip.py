"""The WHIP protocol: every status code and header (RFC 9725)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from streamer.api.server.principals import UNRESTRICTED
from streamer.api.webrtc.publishers import Publishers
from streamer.api.webrtc.whip import Whip
from streamer.config.network import IceServerConfig, WebRTCConfig
from streamer.config.streams import StreamConfig
from streamer.errors import ControlError, StreamExistsError
from streamer.runtime.clock import SystemClock
from streamer.runtime.metrics import Metrics
from streamer.webrtc.http_answer import SDP, SDP_FRAGMENT, HttpAnswer
from streamer.webrtc.peer import Peer
from streamer.webrtc.session_description import MAXIMUM_BYTES
from tests.streamer.api.webrtc.publisher import Publisher
from tests.streamer.webrtc.conftest import Ingest, MakeIngest
from tests.streamer.webrtc.waiting import until

CANDIDATE = "a=candidate:1 1 udp 2130706431 127.0.0.1 9999 typ host"


def header(answer: HttpAnswer, name: str) -> str:
    return dict(answer.headers)[name]


def ice_of(sdp: bytes) -> tuple[str, str]:
    lines = sdp.decode().splitlines()
    return next(line for line in lines if line.startswith("a=ice-ufrag:")), next(
        line for line in lines if line.startswith("a=ice-pwd:")
    )


def fragment(*lines: str) -> bytes:
    return ("\r\n".join([*lines, "m=video 9 UDP/TLS/RTP/SAVPF 0", "a=mid:0"]) + "\r\n").encode()


async def test_post_is_answered_with_all_a_publisher_needs(ingest: Ingest) -> None:
    async with Publisher(ingest.whip) as publisher:
        answer = await publisher.post()
        assert answer.status == 201
        assert header(answer, "Content-Type") == SDP
        assert header(answer, "Location").startswith("../../whip/")
        assert header(answer, "Accept-Patch") == SDP_FRAGMENT
        tag = header(answer, "ETag")
        assert tag.startswith('"')
        assert tag.endswith('"')
        assert answer.body.startswith(b"v=0\r\n")
        assert b"a=setup:active" in answer.body
        assert len(publisher.session_id) >= 32


async def test_session_names_differ(ingest: Ingest) -> None:
    async with Publisher(ingest.whip, "a") as first, Publisher(ingest.whip, "b") as second:
        await first.post()
        await second.post()
        assert first.session_id != second.session_id
        assert first.header("ETag") != second.header("ETag")


@pytest.mark.parametrize("content_type", [None, "", "text/plain", SDP_FRAGMENT])
async def test_offer_of_another_type_is_refused(ingest: Ingest, content_type: str | None) -> None:
    answer = await ingest.whip.post("cam1", b"v=0\r\n", content_type, UNRESTRICTED)
    assert answer.status == 415
    assert header(answer, "Accept-Post") == SDP


async def test_type_of_an_offer_may_have_parameters(ingest: Ingest) -> None:
    answer = await ingest.whip.post("cam1", b"", "Application/SDP; charset=utf-8", UNRESTRICTED)
    assert answer.status == 400


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"hello", 400),
        (b"\xff\xfe", 400),
        (b'{"sdp": "v=0"}', 400),
        (b"v=0\r\nm=video\r\n", 400),
        (b"v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n", 422),
        (b"v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=sendonly\r\n", 422),
        (b"v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\na=recvonly\r\n", 422),
        (b"v=0\r\nm=video 9 RTP/AVP 96\r\na=mid:0\r\na=sendonly\r\n", 422),
        (b"v=0\r\n" + b"a=x\r\n" * MAXIMUM_BYTES, 413),
    ],
)
async def test_bad_offer_is_refused(ingest: Ingest, body: bytes, status: int) -> None:
    answer = await ingest.whip.post("cam1", body, SDP, UNRESTRICTED)
    assert answer.status == status
    assert answer.detail
    assert not answer.body


@pytest.mark.parametrize(
    ("removed", "detail"),
    [
        ("a=ice-pwd:", "a=ice-ufrag or a=ice-pwd is missing or malformed"),
        ("a=fingerprint:", "the video section has no a=fingerprint of sha-256, -384 or -512"),
        ("a=setup:", "the video section has no a=setup of actpass, active or passive"),
        ("a=rtcp-mux", "the video section lacks a=rtcp-mux"),
        ("a=mid:", "the video section has no a=mid that can be used"),
        (
            "a=rtpmap:",
            "the video is offered neither as VP8 nor as H264 (with payload types of 96 to 127); "
            "let the peer offer one of them",
        ),
    ],
)
async def test_offer_without_what_is_needed_is_refused(
    ingest: Ingest, removed: str, detail: str
) -> None:
    async with Publisher(ingest.whip) as publisher:
        lines = (await publisher.offer()).decode().splitlines()
        body = "\r\n".join(line for line in lines if not line.startswith(removed))
        answer = await ingest.whip.post("cam1", body.encode(), SDP, UNRESTRICTED)
        assert (answer.status, answer.detail) == (422, detail)


async def test_too_many_publishers_get_a_retry_after(make_ingest: MakeIngest) -> None:
    ingest = make_ingest(publishers=1)
    async with Publisher(ingest.whip, "a") as first, Publisher(ingest.whip, "b") as second:
        assert (await first.post()).status == 201
        answer = await second.post()
        assert answer.status == 503
        assert int(header(answer, "Retry-After")) > 0


async def test_candidates_may_come_later(ingest: Ingest) -> None:
    """The offer has no candidate; the media come about by the ones that are trickled."""
    with ingest.source() as source:
        async with Publisher(ingest.whip) as publisher:
            lines = (await publisher.offer()).decode().splitlines()
            candidates = [line for line in lines if line.startswith("a=candidate:")]
            bare = [
                line
                for line in lines
                if not line.startswith("a=candidate:") and line != "a=end-of-candidates"
            ]
            publisher.posted = await ingest.whip.post(
                "cam1", "\r\n".join(bare).encode(), SDP, UNRESTRICTED
            )
            assert publisher.posted.status == 201
            patched = await ingest.whip.patch(
                publisher.session_id,
                fragment(*ice_of("\n".join(lines).encode()), *candidates, "a=end-of-candidates"),
                SDP_FRAGMENT,
                publisher.header("ETag"),
            )
            assert patched == HttpAnswer(204)
            session = ingest.publishers.session(publisher.session_id)
            assert session is not None
            await publisher.accept_posted()
            await until(lambda: source.output.frames, "a frame")


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"session_id": "unknown"}, 404),
        ({"content_type": SDP}, 415),
        ({"content_type": None}, 415),
        ({"if_match": None}, 428),
        ({"if_match": '"stale"'}, 412),
        ({"if_match": 'W/"weak"'}, 412),
        ({"body": b"x" * (MAXIMUM_BYTES + 1)}, 413),
        ({"body": b""}, 400),
        ({"body": b"nonsense"}, 400),
        ({"body": fragment("a=candidate:nonsense")}, 400),
        ({"body": fragment("a=ice-ufrag:abcd")}, 422),
        ({"body": fragment(*(CANDIDATE.replace("9999", str(1000 + n)) for n in range(65)))}, 422),
        ({"body": fragment(CANDIDATE)}, 204),
        ({"body": fragment("a=end-of-candidates")}, 204),
        ({"body": fragment(CANDIDATE), "if_match": "*"}, 204),
        # What cannot be used is left out without a word (RFC 9725, section 4.3.2).
        ({"body": fragment(CANDIDATE.replace(" udp ", " tcp "))}, 204),
        ({"body": fragment(CANDIDATE.replace("127.0.0.1", "example.org"))}, 204),
        # Nothing is connected yet that could be restarted.
        ({"body": fragment("a=ice-ufrag:abcd", "a=ice-pwd:" + "p" * 22), "if_match": "*"}, 503),
    ],
)
async def test_patch(ingest: Ingest, changes: dict[str, object], status: int) -> None:
    async with Publisher(ingest.whip) as publisher:
        await publisher.post()
        request: dict[str, object] = {
            "session_id": publisher.session_id,
            "body": fragment(CANDIDATE),
            "content_type": SDP_FRAGMENT,
            "if_match": publisher.header("ETag"),
        }
        answer = await ingest.whip.patch(**{**request, **changes})  # type: ignore[arg-type]
        assert answer.status == status, answer.detail
        assert (answer.detail is None) == (status < 400)
        assert "ETag" not in dict(answer.headers)


async def test_candidates_of_all_patches_count(ingest: Ingest) -> None:
    async with Publisher(ingest.whip) as publisher:
        await publisher.post()
        statuses = []
        for number in range(65):
            body = fragment(CANDIDATE.replace("9999", str(1000 + number)))
            answer = await ingest.whip.patch(
                publisher.session_id, body, SDP_FRAGMENT, publisher.header("ETag")
            )
            statuses.append(answer.status)
        assert statuses[0] == 204
        assert statuses[-1] == 422


async def test_delete(ingest: Ingest) -> None:
    async with Publisher(ingest.whip) as publisher:
        assert (await ingest.whip.delete("unknown")).status == 404
        await publisher.post()
        assert (await ingest.whip.delete(publisher.session_id)).status == 200
        assert (await ingest.whip.delete(publisher.session_id)).status == 404
        patched = await ingest.whip.patch(
            publisher.session_id, fragment(CANDIDATE), SDP_FRAGMENT, "*"
        )
        assert patched.status == 404


async def test_options_and_other_methods_list_what_is_allowed(ingest: Ingest) -> None:
    endpoint, session = (
        ingest.whip.endpoint_options(may_publish=True),
        ingest.whip.session_options(),
    )
    assert endpoint.status == session.status == 204
    assert header(endpoint, "Accept-Post") == SDP
    assert header(session, "Accept-Patch") == SDP_FRAGMENT
    assert ingest.whip.endpoint_not_allowed().status == 405
    assert header(ingest.whip.endpoint_not_allowed(), "Allow") == "POST, OPTIONS"
    assert header(ingest.whip.session_not_allowed(), "Allow") == "PATCH, DELETE, OPTIONS"


async def test_session_that_is_never_connected_ends(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamer.api.webrtc.publishers.CONNECT_TIMEOUT_S", 0.3)
    async with Publisher(ingest.whip) as publisher:
        await publisher.post()
        await until(lambda: ingest.publishers.session(publisher.session_id) is None)
        assert ingest.publisher_count == 0


async def test_configured_servers_are_sent_with_their_credentials(
    monkeypatch: pytest.MonkeyPatch, nothing_left: None
) -> None:
    monkeypatch.setenv("TURN_PASSWORD", 'se"cret')
    config = WebRTCConfig(
        ice_servers=[
            IceServerConfig(url="stun:stun.example.org"),
            IceServerConfig(
                url="turn:turn.example.org", username="ada", password_env="TURN_PASSWORD"
            ),
        ]
    )
    publishers = Publishers(config, Metrics(), SystemClock())
    whip = Whip(publishers, stream_config=lambda _: None, begin_stream=None)
    links = [
        value for name, value in whip.endpoint_options(may_publish=True).headers if name == "Link"
    ]
    assert links == [
        '<stun:stun.example.org>; rel="ice-server"',
        '<turn:turn.example.org>; rel="ice-server"; username="ada"; credential="se\\"cret"; '
        'credential-type="password"',
    ]
    assert "cret" not in repr(publishers.ice_settings)


async def test_shared_secret_stays_here_and_its_credentials_end(
    monkeypatch: pytest.MonkeyPatch, nothing_left: None
) -> None:
    """The values are coturn's for ``static-auth-secret=north``, computed with OpenSSL."""
    monkeypatch.setenv("TURN_SECRET", "north")
    monkeypatch.setattr("time.time", lambda: 1_700_000_000.5)
    server = IceServerConfig(
        url="turn:127.0.0.1:9", username="masklet", password_env="TURN_SECRET", shared_secret=True
    )
    settings = Publishers(WebRTCConfig(ice_servers=[server]), Metrics(), SystemClock()).ice_settings
    ((_, link),) = settings.links
    username, credential = "1700043200:masklet", "EAGwatCZuztmAvI/5gY4YpZWwfE="
    assert f'username="{username}"; credential="{credential}"' in link
    assert settings.server_options["turn_username"] == username
    assert settings.server_options["turn_password"] == credential
    assert "north" not in link


class Streams:
    """The daemon's streams, as far as WHIP asks for them."""

    def __init__(self, **known: str) -> None:
        self.known = {name: StreamConfig(url=url) for name, url in known.items()}
        self.error: Exception | None = None

    async def begin(self, stream_id: str, publisher: str) -> None:
        if self.error is not None:
            raise self.error
        self.known[stream_id] = StreamConfig(url="whip://")


async def test_publisher_may_begin_a_stream(make_ingest: MakeIngest) -> None:
    ingest = make_ingest(publishers=1)
    streams = Streams(gate="rtsp://camera/1")
    whip = Whip(ingest.publishers, stream_config=streams.known.get, begin_stream=streams.begin)
    closed = Whip(ingest.publishers, stream_config=streams.known.get, begin_stream=None)
    async with Publisher(whip, "new") as publisher:
        offer = await publisher.offer()
        assert (await whip.post("gate", offer, SDP, UNRESTRICTED)).status == 409
        assert (await whip.post("a/b", offer, SDP, UNRESTRICTED)).status == 404
        assert (await closed.post("new", offer, SDP, UNRESTRICTED)).status == 404
        assert (await whip.post("bad", b"no offer", SDP, UNRESTRICTED)).status == 400
        assert set(streams.known) == {"gate"}
        streams.error = ControlError("64 streams run already; remove one first")
        assert (await whip.post("new", offer, SDP, UNRESTRICTED)).status == 503
        streams.error = None
        assert (await whip.post("new", offer, SDP, UNRESTRICTED)).status == 201
        assert set(streams.known) == {"gate", "new"}
        assert (await whip.post("another", offer, SDP, UNRESTRICTED)).status == 503
        assert set(streams.known) == {"gate", "new"}
        streams.error = StreamExistsError("new")
        assert (await whip.post("new", offer, SDP, UNRESTRICTED)).status == 409


async def test_post_that_is_cancelled_leaves_nothing(ingest: Ingest) -> None:
    async with Publisher(ingest.whip) as publisher:
        offer = await publisher.offer()
        post = asyncio.ensure_future(ingest.whip.post("cam1", offer, SDP, UNRESTRICTED))
        await asyncio.sleep(0)
        post.cancel()
        await asyncio.wait({post})
        assert (await ingest.whip.post("cam1", offer, SDP, UNRESTRICTED)).status == 201


@pytest.mark.parametrize("by", ["end_stream", "close"])
async def test_stream_that_is_removed_while_its_publisher_connects_has_none(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    answer = Peer.answer

    async def answer_too_late(self: Peer, *arguments: Any) -> str:
        answered = await answer(self, *arguments)
        await (ingest.publishers.close() if by == "close" else ingest.publishers.end_stream("cam1"))
        return answered

    monkeypatch.setattr(Peer, "answer", answer_too_late)
    async with Publisher(ingest.whip) as publisher:
        assert (await publisher.post()).status == 404
        monkeypatch.setattr(Peer, "answer", answer)
        assert (await publisher.post()).status == 201  # and no earlier publisher blocks it
