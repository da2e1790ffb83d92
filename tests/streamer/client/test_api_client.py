"""The client of the HTTP API: which servers it trusts, and unexpected answers."""

from __future__ import annotations

import io
import ssl
import subprocess
from pathlib import Path

import pytest

from streamer.client.api_client import Access, ApiClient, ApiError, _parse_events, read_token
from streamer.errors import ConfigError
from tests.streamer.http_fixture import one_answer


def test_token_never_leaves_this_machine_in_the_clear() -> None:
    with pytest.raises(ConfigError, match=r"the token would go to camera\.local unencrypted"):
        ApiClient(Access("http://camera.local:8080", token="t"))
    ApiClient(Access("http://camera.local:8080", token="t", insecure=True))
    ApiClient(Access("https://camera.local:8080", token="t"))
    ApiClient(Access("http://[::1]:8080", token="t"))
    assert "hunter2" not in repr(Access("https://x", token="hunter2"))


@pytest.mark.parametrize("content", [b"", b"\n", b"a b", b"\xff", b"a\nb", b"x" * 5000])
def test_file_without_a_token_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(ConfigError, match="holds no token"):
        read_token(None, str(tmp_path / "token"))


@pytest.mark.parametrize(
    ("status", "body", "headers", "said"),
    [
        (200, b"<html>", {}, "is no masklet: it answered without JSON"),
        (404, b"<html>", {}, "answered 404 Not Found"),
        (302, b"", {"Location": "https://elsewhere/"}, "redirects (302 to https://elsewhere"),
        (500, b'{"detail": "a\\nb", "errors": 7}', {}, "answered 500"),
        (422, b'{"detail": "a\\n b", "errors": [{"location": "/x", "detail": "c"}]}', {},
         "a b; /x: c"),
    ],
)  # fmt: skip
def test_unexpected_answers_are_reported_in_one_line(
    status: int, body: bytes, headers: dict[str, str], said: str
) -> None:
    with one_answer(status, body, headers) as url, pytest.raises(ApiError) as raised:
        ApiClient(Access(url)).get("/v1/info")
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A self-made certificate for 127.0.0.1, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "2", "-subj", "/CN=masklet", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")],
        check=True, capture_output=True,
    )  # fmt: skip
    return str(folder / "cert.pem"), str(folder / "key.pem")


def test_self_signed_certificate_is_trusted_only_on_request(
    certificate: tuple[str, str],
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with one_answer(200, b'{"status": "ok"}', {}, context) as url:
        with pytest.raises(ApiError, match=r"is not trusted .*--ca FILE, or --insecure"):
            ApiClient(Access(url)).get("/healthz")
        assert ApiClient(Access(url, ca_file=certificate[0])).get("/healthz") == {"status": "ok"}
        assert ApiClient(Access(url, insecure=True)).get("/healthz") == {"status": "ok"}
        plain = url.replace("https://", "http://")
        with pytest.raises(ApiError, match=r"does it speak TLS|no daemon answers"):
            ApiClient(Access(plain)).get("/healthz")
    with (
        one_answer(200, b"{}", {}) as url,
        pytest.raises(ApiError, match="speaks no TLS .*; try http://"),
    ):
        ApiClient(Access(url.replace("http://", "https://"))).get("/healthz")


def test_server_sent_events_follow_the_standard() -> None:
    lines = io.BytesIO(
        b"retry: 2000\n\n: comment\n\nid: a-1\nevent: lost\ndata: {\ndata:}\n\n"
        b"data: x\r\n\r\nevent: ended without a blank line\ndata: y\n"
    )
    found = [(each.kind, each.data, each.event_id) for each in _parse_events(lines)]
    assert found == [("lost", "{\n}", "a-1"), ("message", "x", "a-1")]
