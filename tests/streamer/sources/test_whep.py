"""Fetching a stream from a media server: a small real one, and servers that misbehave."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiortc import RTCPeerConnection

from streamer.config.streams import StreamConfig
from streamer.errors import ConfigError, SourceError, SourceFailure
from streamer.sources import make_source
from streamer.types import ClockSource
from tests.conftest import eventually
from tests.streamer.sources.recorder import RunningSource, run_to_end
from tests.streamer.webrtc.conftest import open_sockets
from tests.streamer.webrtc.numbered_scene import read_number
from tests.streamer.webrtc.whep_server import PATH, Reply, Request, WhepServer

SDP_TYPE = {"Content-Type": "application/sdp"}


@pytest.fixture(autouse=True)
def loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aioice.ice.get_host_addresses", lambda use_ipv4, use_ipv6: ["127.0.0.1"])


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    threads, sockets = set(threading.enumerate()), open_sockets()
    yield
    eventually(
        lambda: {t for t in threading.enumerate() if "whep" in t.name} <= threads, what="threads"
    )
    eventually(lambda: open_sockets() <= sockets, what="closed sockets")


def source(port: int, *, path: str = PATH, scheme: str = "whep", **settings: object):
    url = f"{scheme}://127.0.0.1:{port}{path}"
    return make_source("cam1", StreamConfig(url=url, **settings))  # type: ignore[arg-type]


def failure(port: int, **settings: object) -> SourceError:
    _, error = run_to_end(source(port, **settings))
    assert error is not None
    return error


def answering(status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> WhepServer:
    return WhepServer(script=lambda _: Reply(status, headers or {}, body))


@pytest.mark.parametrize("codec", ["VP8", "H264"])
def test_frames_arrive_in_order_and_the_session_is_deleted(codec: str) -> None:
    with WhepServer(codec=codec) as server:
        with RunningSource(source(server.port)) as running:
            running.wait_for_frames(5)
            eventually(
                lambda: running.output.frames[-1].clock_source is ClockSource.RTCP_SR,
                what="a sender report",
            )
            numbers = [read_number(frame.pixels.rgb()) for frame in running.output.frames]
            assert numbers == sorted(numbers)
            assert server.viewers == 1
        assert running.error is None
        assert server.viewers == 0
        assert [request.method for request in server.requests] == ["POST", "DELETE"]


def test_killed_server_is_detected_and_reconnected_when_it_returns() -> None:
    with WhepServer() as server:
        port = server.port
        with RunningSource(source(port, read_timeout_s=2.0)) as running:
            running.wait_for_frames(3)
            server.fall_silent()
            error = running.wait_for_end()
            assert error is not None
            assert error.reason is SourceFailure.TIMEOUT
            assert "sent no media for 2.0 s (read_timeout_s)" in str(error)
    assert failure(port).reason is SourceFailure.REFUSED
    with WhepServer(port=port), RunningSource(source(port)) as running:
        running.wait_for_frames(3)


def test_server_that_closes_the_connection_ends_the_attempt() -> None:
    with WhepServer() as server, RunningSource(source(server.port)) as running:
        running.wait_for_frames(3)
        for connection in list(server._connections.values()):
            server._loop.run(connection.close())
        error = running.wait_for_end()
        assert error is not None
        assert error.reason is SourceFailure.ENDED


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (401, SourceFailure.UNAUTHORISED),
        (403, SourceFailure.UNAUTHORISED),
        (404, SourceFailure.NOT_FOUND),
        (400, SourceFailure.REFUSED),
        (406, SourceFailure.REFUSED),
        (200, SourceFailure.REFUSED),
        (301, SourceFailure.REFUSED),
        (500, SourceFailure.REFUSED),
        (503, SourceFailure.REFUSED),
    ],
)
def test_refusals_have_a_reason(status: int, reason: SourceFailure) -> None:
    with answering(status) as server:
        error = failure(server.port, path="/live/whep?jwt=s3cret")
        assert error.reason is reason
        assert str(status) in str(error)
        assert str(error).startswith("cam1: whep://127.0.0.1:")
        assert "s3cret" not in str(error)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(201, {"Content-Type": "text/html"}, b"<html>"),
        Reply(201, SDP_TYPE, b""),
        Reply(201, SDP_TYPE, b"\xff"),
        Reply(201, SDP_TYPE, b"v=0\r\n"),
        Reply(201, SDP_TYPE, b"v=0\r\nm=video 0 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\n"),
        Reply(201, SDP_TYPE, b"v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\n"),
        Reply(201, SDP_TYPE, b"v=0\r\n" + b"a=x\r\n" * 20_000),
    ],
)
def test_answers_that_are_none_are_garbage(reply: Reply) -> None:
    with WhepServer(script=lambda request: reply if request.method == "POST" else None) as server:
        assert failure(server.port).reason is SourceFailure.GARBAGE


def test_server_that_speaks_another_language_is_garbage() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            connection, _ = listener.accept()
            connection.sendall(b"220 mail.example.org ESMTP\r\n")
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65_536):  # closing with something unread would be a reset
                pass
            connection.close()

        thread = threading.Thread(target=greet)
        thread.start()
        assert failure(listener.getsockname()[1]).reason is SourceFailure.GARBAGE
        thread.join()


def test_silent_server_is_a_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        error = failure(listener.getsockname()[1], open_timeout_s=0.3)
        assert error.reason is SourceFailure.TIMEOUT


@pytest.mark.parametrize(
    "begin",
    [b"HTTP/1.1 201 Created\r\nContent-Length: 9999\r\n\r\n", b"HTTP/1.1 201 Created\r\nX: "],
    ids=["body", "header"],
)
def test_server_that_answers_byte_by_byte_is_a_timeout(begin: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stop = threading.Event()

        def drip() -> None:
            connection, _ = listener.accept()
            connection.sendall(begin)
            try:
                while not stop.wait(0.05):
                    connection.sendall(b"v")
            except OSError:
                pass
            connection.close()

        thread = threading.Thread(target=drip)
        thread.start()
        assert failure(listener.getsockname()[1], open_timeout_s=0.4).reason is (
            SourceFailure.TIMEOUT
        )
        stop.set()
        thread.join()


def test_server_out_of_reach_by_udp_is_a_timeout() -> None:
    def without_candidates(sdp: str) -> str:
        lines = [line for line in sdp.splitlines() if not line.startswith("a=candidate")]
        return "\r\n".join([*lines, ""])

    with WhepServer() as server:
        answer_of_server = server._answer

        async def answer(offer: str) -> tuple[RTCPeerConnection, str]:
            connection, answered = await answer_of_server(without_candidates(offer))
            return connection, without_candidates(answered)

        server._answer = answer  # type: ignore[method-assign]
        error = failure(server.port, open_timeout_s=1.0)
        assert error.reason in (SourceFailure.TIMEOUT, SourceFailure.UNREACHABLE)


def redirects(status: int, target: str, count: int = 1):
    left = [count]

    def script(request: Request) -> Reply | None:
        if request.method == "POST" and left[0] > 0:
            left[0] -= 1
            return Reply(status, {"Location": target})
        return None

    return script


@pytest.mark.parametrize("status", [307, 308])
def test_redirects_are_followed_with_the_offer(status: int) -> None:
    with (
        WhepServer(script=redirects(status, PATH)) as server,
        RunningSource(source(server.port, path="/elsewhere")) as running,
    ):
        running.wait_for_frames(2)


def test_redirects_end_somewhere() -> None:
    with WhepServer(script=redirects(307, PATH, count=100)) as server:
        error = failure(server.port)
        assert error.reason is SourceFailure.REFUSED
        assert len(server.requests) == 6


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/", "http://", "//[", ""])
def test_redirects_to_nowhere_are_refused(target: str) -> None:
    with WhepServer(script=redirects(307, target, count=100)) as server:
        assert failure(server.port).reason is SourceFailure.REFUSED


def test_redirects_to_another_host_are_refused_by_its_name() -> None:
    with WhepServer(script=redirects(307, "http://localhost:9/whep")) as server:
        error = failure(server.port)
        assert error.reason is SourceFailure.REFUSED
        assert "redirects to localhost; give that server's address instead" in str(error)


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("http://127.0.0.2:{}/v1/streams/yard", "names a session at 127.0.0.2"),
        ("//127.0.0.2:{}/v1/streams/yard", "names a session at 127.0.0.2"),
        ("http://127.0.0.1@127.0.0.2:{}/x", "names a session at 127.0.0.2"),
        ("http://127.0.0.1:1\\@127.0.0.2:{}/x", "an address that holds"),
        ("http://127.0.0.1#@127.0.0.2:{}/x", "an address that holds '#'"),
        ("http://2130706434:{}/x", "an address that must write an IPv4 address"),
        ("ftp://127.0.0.1/x", "an address that must be"),
        ("rtsp://127.0.0.1:{}/x", "names a session at rtsp"),
        ("http://127.0.0.1:{}/x", "names a session at another port"),
    ],
)
def test_session_elsewhere_is_refused_and_never_asked_to_end(location: str, message: str) -> None:
    with socket.create_server(("127.0.0.2", 0)) as victim:
        port = victim.getsockname()[1]
        with socket.create_server(("127.0.0.1", port)) as other:
            headers = {**SDP_TYPE, "Location": location.format(port)}
            with answering(201, headers, b"v=0\r\n") as server:
                error = failure(server.port)
            assert error.reason is SourceFailure.REFUSED
            assert message in str(error)
            for listener in (victim, other):
                listener.settimeout(0.01)
                with pytest.raises(TimeoutError):
                    listener.accept()


@pytest.mark.parametrize("location", [PATH, "?session=1", "http://127.0.0.1.:{}/s", "/a@b:1/c"])
def test_session_at_the_same_host_is_ended(location: str) -> None:
    with WhepServer(
        script=lambda request: (
            Reply(201, {"Location": location.format(server.port)}, b"no description")
            if request.method == "POST"
            else Reply(200, {}, b"")
        )
    ) as server:
        failure(server.port)
        assert [request.method for request in server.requests] == ["POST", "DELETE"]


def test_token_goes_to_the_server_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    with WhepServer() as other:
        target = f"http://127.0.0.1:{other.port}{PATH}"
        with (
            WhepServer(script=redirects(307, target)) as server,
            RunningSource(source(server.port, password_file=str(token))) as running,
        ):
            running.wait_for_frames(1)
        assert server.requests[0].headers["Authorization"] == "Bearer s3cret"
        assert [request.method for request in other.requests] == ["POST", "DELETE"]
        assert all("Authorization" not in request.headers for request in other.requests)


def test_user_and_password_are_basic_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSWORD", "pass")
    monkeypatch.setenv("USER_NAME", "ada")
    with answering(401) as server:
        failure(server.port, username_env="USER_NAME", password_env="PASSWORD")
        assert server.requests[0].headers["Authorization"] == "Basic YWRhOnBhc3M="


def test_certificate_must_be_trusted(tmp_path: Path) -> None:
    certificate = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with WhepServer(tls=context) as server:
        error = failure(server.port, scheme="wheps")
        assert error.reason is SourceFailure.REFUSED
        assert "ca_file" in str(error)
        trusting = source(server.port, scheme="wheps", options={"ca_file": str(certificate)})
        with RunningSource(trusting) as running:
            running.wait_for_frames(2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"url": "whep://host/x", "options": {"ca_file": "/x"}},
            "streams.cam1.options.ca_file is unknown for WHEP; known, with wheps://, is ca_file",
        ),
        (
            {"url": "wheps://host/x", "options": {"ca_file": "/not/there.pem"}},
            "streams.cam1.options.ca_file /not/there.pem holds no certificates: "
            "No such file or directory",
        ),
        (
            {"url": "whep://host/x", "password_env": "NOT_SET_ANYWHERE"},
            "streams.cam1.password_env: the environment variable NOT_SET_ANYWHERE is not set; "
            "export it",
        ),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        make_source("cam1", StreamConfig(**settings))  # type: ignore[arg-type]
    assert str(raised.value) == message


def self_signed(folder: Path) -> Path:
    """A certificate for 127.0.0.1 with its key, in one file."""
    import datetime
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "media server")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path
