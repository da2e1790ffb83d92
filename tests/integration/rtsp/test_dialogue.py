"""What cameras refuse, ask for and redirect to, in the dialogue before the first picture."""

from __future__ import annotations

import contextlib
import itertools
import logging
import re
import socket
import threading
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest

from streamer.config.streams import StreamConfig
from streamer.errors import ConfigError, SourceFailure
from streamer.runtime.address import Address
from streamer.sources import make_source
from streamer.sources.rtsp import relay
from tests.conftest import eventually
from tests.integration.rtsp.dialogue_server import (
    AUDIO,
    BACKCHANNEL,
    HANG_UP,
    METADATA,
    SILENCE,
    UNITS,
    VIDEO,
    DialogueServer,
    Request,
    Rule,
    asking_for,
    play_on,
)
from tests.integration.rtsp.scripted_server import RtpSender
from tests.streamer.sources.recorder import RunningSource

USER = "admin:pw@"


def running(
    server: DialogueServer,
    userinfo: str = "",
    may_reach: Callable[[Address], bool] | None = None,
    **settings: object,
) -> RunningSource:
    values = {"open_timeout_s": 5.0, "read_timeout_s": 2.0, **settings}
    url = server.url.replace("://", f"://{userinfo}")
    config = StreamConfig(url=url, **values)  # type: ignore[arg-type]
    return RunningSource(make_source("gate", config, may_reach))


def plays(server: DialogueServer, userinfo: str = "", **settings: object) -> None:
    with server, running(server, userinfo, **settings) as source:
        source.wait_for_frames(3)


def failure(
    server: DialogueServer, userinfo: str = "", **settings: object
) -> tuple[SourceFailure, str]:
    with server, running(server, userinfo, **settings) as source:
        error = source.wait_for_end()
    assert error is not None
    assert "pw" not in str(error)
    return error.reason, str(error)


def ordinary(_: Request) -> None:
    return None


def refuses(method: str, answer: str, track: int | None = None) -> Rule:
    return lambda request: answer if request.method == method and request.track == track else None


# What is not needed.


@pytest.mark.parametrize(
    "answer",
    [
        "404 Not Found",
        "405 Method Not Allowed",
        "501 Not Implemented",
        "455 Method Not Valid in This State",
        "401 Unauthorized",
        HANG_UP,
        SILENCE,
    ],
)
def test_options_may_be_refused(answer: str) -> None:
    plays(DialogueServer(refuses("OPTIONS", answer)), open_timeout_s=2.0)


@pytest.mark.parametrize("track", [METADATA, AUDIO])
@pytest.mark.parametrize("answer", ["404 Not Found", "461 Unsupported Transport", HANG_UP])
def test_a_second_track_may_be_refused(
    track: str, answer: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "streamer")
    server = DialogueServer(refuses("SETUP", answer, 1), [track])
    plays(server)
    assert "SETUP1" in server.methods
    name = "application vnd.onvif.metadata" if track == METADATA else "audio PCMA"
    assert f"the track {name} (track1)" in caplog.text


def test_a_channel_back_to_the_camera_is_left_alone() -> None:
    server = DialogueServer(refuses("SETUP", "500 Internal Server Error", 1), [BACKCHANNEL])
    plays(server)
    assert server.methods[:4] == ["OPTIONS", "DESCRIBE", "SETUP0", "PLAY"]


def test_only_video_is_asked_for_where_the_options_say_so() -> None:
    server = DialogueServer(ordinary, [AUDIO])
    plays(server, options={"allowed_media_types": "video"})
    assert "SETUP1" not in server.methods


def test_another_video_track_is_played_where_the_first_is_refused(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def script(sender: RtpSender) -> None:
        send = sender._interleaved
        sender._interleaved = lambda channel, data: send(channel + 4, data)  # type: ignore[method-assign]
        play_on(sender)

    plays(DialogueServer(refuses("SETUP", "404 Not Found", 0), [AUDIO, VIDEO], script))
    assert "refused SETUP of the track video H264 (track0) with 404 Not Found" in caplog.text
    assert "trying video H264 (track2)" in caplog.text
    both = [VIDEO]
    rule: Rule = lambda request: "461 Not So" if request.method == "SETUP" else None  # noqa: E731
    reason, text = failure(DialogueServer(rule, both))
    assert reason is SourceFailure.REFUSED
    assert "refused SETUP of the track video H264 (track0) with 461 Not So; set transport" in text


@pytest.mark.parametrize(
    "transport",
    [
        "",
        "Transport: RTP/AVP/TCP;unicast",
        "Transport: RTP/AVP/TCP;unicast;interleaved=0-1;source=192.0.2.1;mode=\xe9",
        "transport:RTP/AVP/TCP;interleaved=0-1, RTP/AVP/TCP;interleaved=2-3",
    ],
)
def test_odd_answers_to_setup(transport: str) -> None:
    answer = "\r\n".join(["200 OK", "Session: 1;timeout=0", *filter(None, [transport])])
    plays(DialogueServer(refuses("SETUP", answer, 0)))


def test_a_camera_that_sends_by_udp_alone_is_named() -> None:
    answer = "200 OK\r\nTransport: RTP/AVP;unicast;client_port=5000-5001"
    reason, text = failure(DialogueServer(refuses("SETUP", answer, 0)))
    assert reason is SourceFailure.REFUSED
    assert "wants to send by RTP/AVP;unicast" in text
    assert "set transport" in text


def test_play_without_a_range_and_of_a_track_alone() -> None:
    def no_range(request: Request) -> str | None:
        return "457 Invalid Range" if request.header("Range") else None

    def no_aggregate(request: Request) -> str | None:
        is_track = request.uri.endswith("track0")
        return "460 Only Aggregate" if request.method == "PLAY" and not is_track else None

    plays(DialogueServer(no_range))
    plays(DialogueServer(no_aggregate))
    reason, text = failure(DialogueServer(refuses("PLAY", "453 Not Enough Bandwidth")))
    assert reason is SourceFailure.REFUSED
    assert "refused PLAY with 453 Not Enough Bandwidth" in text


def test_interim_answers_and_other_successes_are_understood() -> None:
    class Odd(DialogueServer):
        def _answer(self, method: str, sequence: str) -> str:
            answer = super()._answer(method, sequence).replace("200 OK", "250 Low on Storage Space")
            answer = answer.replace("RTP/AVP/TCP", "RTP/AVP")
            return f"RTSP/1.0 100 Continue\r\nCSeq: {sequence}\r\n\r\n{answer}"

    plays(Odd(ordinary))


class ShortSession(DialogueServer):
    """Ends a session after 2 s without a request."""

    def _answer(self, method: str, sequence: str) -> str:
        return super()._answer(method, sequence).replace("Session: 1", "Session: 1 ; Timeout=2")


def test_keep_alive_requests_may_be_refused_and_the_session_is_torn_down() -> None:
    asked: list[str] = []

    def script(sender: RtpSender) -> None:
        connection = sender._connection
        for index in itertools.count():
            if sender.stopped.is_set() or "TEARDOWN" in asked:
                return
            sender.access_unit(UNITS[index % len(UNITS)], index * 3600)
            connection.settimeout(0.02)
            try:
                text = connection.recv(4096).decode("latin-1")
            except TimeoutError:
                continue
            asked.extend(re.findall(r"([A-Z_]+) rtsp://\S+ RTSP/1.0", text))
            for sequence in re.findall(r"CSeq: (\d+)", text):
                answer = f"RTSP/1.0 405 Not Allowed\r\nCSeq: {sequence}\r\n\r\n"
                connection.sendall(answer.encode())

    rule = refuses("OPTIONS", "200 OK\r\nPublic: OPTIONS, GET_PARAMETER")
    with ShortSession(rule, script=script) as server:
        with running(server) as source:
            eventually(lambda: len(asked) >= 2, what="two keep-alive requests")
            assert source.error is None
        eventually(lambda: "TEARDOWN" in asked, what="the end of the session")
    assert asked[:2] == ["GET_PARAMETER", "OPTIONS"], "the other one after a refusal"


# Logins.

MD5 = 'Digest realm="IP Camera(1)", nonce="0123", algorithm=MD5'
SHA = MD5.replace("MD5", "SHA-256")


@pytest.mark.parametrize(
    "fields",
    [
        [MD5],
        [SHA],
        [MD5, SHA],
        [SHA, MD5],
        ['Digest realm="a, b", nonce="0123", algorithm="SHA-256"'],
        ['Digest realm=plain, nonce=0123, qop="auth,auth-int", algorithm=SHA-256-sess, opaque=""'],
        ['Digest realm="x", nonce="0123", qop=auth, algorithm=md5-sess, Basic realm="x"'],
        ['Basic realm="x"', 'Digest realm="x", nonce="0123"'],
        ['Digest realm="x", nonce="0123", algorithm=SHA-999', MD5],
    ],
)
def test_logins(fields: list[str]) -> None:
    server = DialogueServer(asking_for(*fields))
    plays(server, USER)
    assert len([each for each in server.requests if each.method == "DESCRIBE"]) == 2


def test_a_nonce_that_expires_with_each_request_and_a_camera_that_hangs_up() -> None:
    nonces = map(str, itertools.count())
    current = [next(nonces)]
    hangs_up = [True]

    def rule(request: Request) -> str | None:
        is_known = f'nonce="{current[0]}"' in request.text
        answer = asking_for(f'Digest realm="x", nonce="{current[0]}", stale=true')(request)
        if request.method in ("OPTIONS", "PLAY") or (answer is None and is_known):
            return None
        if request.method == "DESCRIBE" and request.header("Authorization") and hangs_up.pop():
            hangs_up.append(False)
            return HANG_UP
        current[0] = next(nonces)
        return asking_for(f'Digest realm="x", nonce="{current[0]}", stale=true')(request)

    plays(DialogueServer(rule), USER)


def test_a_wrong_password_is_tried_once() -> None:
    nonces = itertools.count()

    def rule(request: Request) -> str | None:
        return asking_for(f'Digest realm="x", nonce="{next(nonces)}"', password="other")(request)

    server = DialogueServer(rule)
    reason, text = failure(server, USER)
    assert reason is SourceFailure.UNAUTHORISED
    assert "refused the credentials (401, Digest MD5)" in text
    assert sum("Authorization" in each.text for each in server.requests) == 1


def test_a_login_without_credentials_or_of_an_unknown_way_is_named() -> None:
    reason, text = failure(DialogueServer(asking_for(SHA, "Basic realm=x")))
    assert reason is SourceFailure.UNAUTHORISED
    assert "asks for a user and a password (401, Digest SHA-256 or Basic)" in text
    reason, text = failure(DialogueServer(asking_for("Negotiate")), USER)
    assert reason is SourceFailure.UNAUTHORISED
    assert "asks for a login by Negotiate, which is not supported" in text


# Redirects.


def redirects(method: str, location: str) -> Rule:
    return refuses(method, f"302 Moved\r\nLocation: {location}")


def basic(request: Request) -> str | None:
    if request.method == "OPTIONS" or request.header("Authorization"):
        return None
    return '401 Unauthorized\r\nWWW-Authenticate: Basic realm="x"'


def given_to(server: DialogueServer) -> list[str]:
    return [each.method for each in server.requests if each.header("Authorization")]


@pytest.mark.parametrize("method", ["OPTIONS", "DESCRIBE"])
@pytest.mark.parametrize("asks_first", [False, True])
def test_a_redirect_to_another_host_takes_no_credentials_along(
    method: str, asks_first: bool
) -> None:
    with DialogueServer(basic, address="127.0.0.2") as other:
        moved = redirects(method, other.url)
        rule: Rule = lambda request: (asks_first and basic(request)) or moved(request)  # noqa: E731
        reason, text = failure(DialogueServer(rule), USER)
    assert reason is SourceFailure.UNAUTHORISED
    assert f"after a redirect to rtsp://127.0.0.2:{other.port}" in text
    assert other.requests
    assert not given_to(other)


def test_a_redirect_of_setup_is_followed_without_credentials_too() -> None:
    with DialogueServer(ordinary, address="127.0.0.2") as other:
        moved = refuses("SETUP", f"301 Moved\r\nLocation: {other.url}", 0)
        plays(DialogueServer(lambda request: basic(request) or moved(request)), USER)
    assert "PLAY" in other.methods
    assert not given_to(other)


def test_a_redirect_within_the_host_keeps_the_credentials() -> None:
    with DialogueServer(basic) as other:
        plays(DialogueServer(redirects("DESCRIBE", other.url)), USER)
    assert "PLAY" in given_to(other)

    def renamed(request: Request) -> str | None:
        here = urlsplit(request.uri).path == "/live"
        return "302 Moved\r\nLocation: /elsewhere" if here and request.method != "OPTIONS" else None

    server = DialogueServer(renamed)
    plays(server)
    assert urlsplit(server.requests[-1].uri).path == "/elsewhere"


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("http://127.0.0.1/live", "which is no RTSP"),
        ("file:///etc/passwd", "which is no RTSP"),
        ("rtsp://[::1/live", "which is no RTSP"),
        ("rtsp://127.0.0.1:0/live", "which is no RTSP"),
        ("", "to nowhere"),
        ("/live", "more than 5 times"),
    ],
)
def test_redirects_that_lead_nowhere_are_named(location: str, said: str) -> None:
    reason, text = failure(DialogueServer(redirects("DESCRIBE", location)), USER)
    assert reason is SourceFailure.REFUSED
    assert f"redirects {said}" in text or said in text


def test_redirects_go_only_where_they_may() -> None:
    asked: list[str] = []

    def may_reach(address: Address) -> bool:
        asked.append(address.host)
        return False

    with DialogueServer(ordinary, address="127.0.0.2") as other:
        server = DialogueServer(redirects("DESCRIBE", other.url))
        reason, text = failure(server, may_reach=may_reach)
    assert reason is SourceFailure.REFUSED
    assert f"redirects to rtsp://127.0.0.2:{other.port}, which is not among api.url_hosts" in text
    assert asked == ["127.0.0.2"]
    assert not other.requests


@pytest.mark.parametrize("nonsense", [b"HTTP/1.1 400 Bad Request\r\n\r\n", bytes(range(256)) * 64])
def test_a_server_of_another_kind_is_garbage(nonsense: bytes) -> None:
    class Other(DialogueServer):
        def _talk(self, connection: socket.socket) -> None:
            connection.sendall(nonsense)

    reason, text = failure(Other(ordinary))
    assert reason is SourceFailure.GARBAGE
    assert "does not speak RTSP" in text


# The relay.


def test_the_relay_serves_only_who_knows_its_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    addresses: list[tuple[str, int]] = []
    create = socket.create_server

    def create_server(address: tuple[str, int], **arguments: object) -> socket.socket:
        listener = create(address, **arguments)  # type: ignore[arg-type]
        addresses.append(listener.getsockname()[:2])
        return listener

    with DialogueServer(ordinary) as server:
        monkeypatch.setattr(relay.socket, "create_server", create_server)
        with running(server) as source:
            source.wait_for_frames(2)
            (address,) = addresses
            assert address[0] == "127.0.0.1"
            with socket.create_connection(address, 5) as stranger:
                stranger.sendall(b"DESCRIBE rtsp://127.0.0.1/live RTSP/1.0\r\nCSeq: 1\r\n\r\n")
                source.wait_for_frames(len(source.output.frames) + 5)
                source.stop.set()
                with contextlib.suppress(ConnectionResetError):  # closed before it was read
                    assert stranger.recv(100) == b""
        assert not [each for each in threading.enumerate() if each.name.startswith("rtsp-")]


def test_tls_files_that_cannot_be_used_are_named() -> None:
    config = StreamConfig(
        url="rtsps://cam/live", options={"tls_verify": "1", "ca_file": "/nowhere.pem"}
    )
    with pytest.raises(
        ConfigError, match=r"streams\.gate\.options\.ca_file /nowhere\.pem holds no"
    ):
        make_source("gate", config)
