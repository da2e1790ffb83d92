"""TLS: the user's certificate, the daemon's own, and their renewal."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import stat
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from streamer.api.server import connections
from streamer.api.server.self_signed import (
    CERTIFICATE_FILE,
    KEY_FILE,
    SelfSignedCertificate,
    empty_tls_context,
    make_pair,
    own_names,
)
from streamer.api.server.tls import UserCertificate
from streamer.config.network import ApiConfig, ApiLimitsConfig
from streamer.errors import ConfigError
from streamer.runtime.clock import seconds_to_ns
from tests.streamer.api.serving import FakeDaemon, bearer, make_api, serving, with_tokens
from tests.streamer.fakes import FakeClock

DAY_S = 86_400


def clock_of_today() -> FakeClock:
    return FakeClock(seconds_to_ns(datetime.now(UTC).timestamp()))


def write_pair(folder: Path, names: list[str]) -> tuple[Path, Path]:
    make_pair(folder, names, datetime.now(UTC))
    return folder / CERTIFICATE_FILE, folder / KEY_FILE


async def served_by(client: httpx.AsyncClient) -> bytes:
    """The certificate that the server shows."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port, ssl=context)
    shown: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.transport.abort()
    return shown


async def test_users_certificate_is_served_and_renewed(tmp_path: Path) -> None:
    certificate, key = write_pair(tmp_path, ["localhost", "127.0.0.1"])
    config = ApiConfig(port=0, tls_certificate=str(certificate), tls_key=str(key))
    api = make_api(FakeDaemon("gate"), config, folder=tmp_path)
    async with serving(api) as client:
        assert str(client.base_url).startswith("https://127.0.0.1:")
        trusting = ssl.create_default_context(cafile=str(certificate))
        async with httpx.AsyncClient(verify=trusting) as verifying:
            answer = await verifying.get(f"https://localhost:{client.base_url.port}/v1/info")
        assert answer.json()["secure"] is True
        before = await served_by(client)
        write_pair(tmp_path, ["localhost", "127.0.0.1"])
        assert api._network is not None
        assert api._network.certificate is not None
        assert api._network.certificate.refresh()
        assert await served_by(client) != before


async def test_login_over_tls_makes_a_secure_cookie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = with_tokens(monkeypatch, self_signed=True)
    async with serving(make_api(FakeDaemon(), config, folder=tmp_path)) as client:
        logged_in = await client.post("/v1/login", headers=bearer("read-" + "r" * 30))
        assert "Secure" in logged_in.headers["set-cookie"]
        assert (await client.get("/v1/info")).json()["scopes"] == ["read"]


async def test_own_certificate_is_kept_privately_and_names_this_machine(tmp_path: Path) -> None:
    config = ApiConfig(port=0, self_signed=True)
    shown = []
    for _ in range(2):
        async with serving(make_api(FakeDaemon(), config, folder=tmp_path)) as client:
            folder = tmp_path / "state" / "tls"
            trusting = ssl.create_default_context(cafile=str(folder / "certificate.pem"))
            for host in ("localhost", "127.0.0.1"):
                async with httpx.AsyncClient(verify=trusting) as verifying:
                    url = f"https://{host}:{client.base_url.port}/healthz"
                    assert (await verifying.get(url)).status_code == 200
            shown.append(await served_by(client))
    assert shown[0] == shown[1]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for file in ("certificate.pem", "key.pem"):
        assert stat.S_IMODE((folder / file).stat().st_mode) == 0o600


def test_own_certificate_is_made_anew_before_it_ends(tmp_path: Path) -> None:
    clock = clock_of_today()
    made = SelfSignedCertificate(tmp_path / "tls", [], clock)
    first = made.fingerprint
    clock.advance(334 * DAY_S)
    assert not made.refresh()
    assert SelfSignedCertificate(tmp_path / "tls", [], clock).fingerprint == first
    clock.advance(2 * DAY_S)
    assert made.refresh()
    assert made.fingerprint != first
    assert SelfSignedCertificate(tmp_path / "tls", [], clock).fingerprint == made.fingerprint


def test_own_certificate_is_made_anew_for_a_new_name(tmp_path: Path) -> None:
    clock = clock_of_today()
    first = SelfSignedCertificate(tmp_path / "tls", ["192.0.2.7", "cam.example"], clock)
    again = SelfSignedCertificate(tmp_path / "tls", ["cam.example"], clock)
    assert again.fingerprint == first.fingerprint
    other = SelfSignedCertificate(tmp_path / "tls", ["cam2.example"], clock)
    assert other.fingerprint != first.fingerprint


@pytest.mark.parametrize("file", ["certificate.pem", "key.pem"])
def test_damaged_certificate_is_made_anew(file: str, tmp_path: Path) -> None:
    folder = tmp_path / "tls"
    first = SelfSignedCertificate(folder, [], clock_of_today())
    (folder / file).write_bytes(b"not PEM")
    second = SelfSignedCertificate(folder, [], clock_of_today())
    assert second.fingerprint != first.fingerprint
    assert stat.S_IMODE((folder / file).stat().st_mode) == 0o600


def test_without_a_folder_it_is_new_with_every_start() -> None:
    first, second = (SelfSignedCertificate(None, [], clock_of_today()) for _ in range(2))
    assert first.fingerprint != second.fingerprint


def test_folder_that_others_can_enter_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "tls"
    folder.mkdir(mode=0o755)
    with pytest.raises(ConfigError, match=r"state_directory: others can enter .*chmod 700"):
        SelfSignedCertificate(folder, [], clock_of_today())


def test_names_that_no_certificate_can_hold_are_left_out() -> None:
    names = own_names(["0.0.0.0", "::", "", "ünïcode", "two words", "fe80::1%eth0", "[::2]"])
    assert {"localhost", "127.0.0.1", "::1", "::2"} <= set(names)
    assert not {"0.0.0.0", "::", "", "ünïcode", "two words", "fe80::1"} & set(names)
    assert socket.gethostname().lower() in names or not socket.gethostname().isascii()


def test_users_files_that_are_none_are_refused_by_their_key(tmp_path: Path) -> None:
    certificate, key = write_pair(tmp_path, ["localhost"])
    for wrong in (tmp_path / "missing.pem", key):
        with pytest.raises(ConfigError, match=r"api\.tls_certificate .*api\.tls_key"):
            UserCertificate(wrong, key)
    (tmp_path / "other").mkdir()
    _, other_key = write_pair(tmp_path / "other", ["localhost"])
    with pytest.raises(ConfigError, match=r"api\.tls_key"):
        UserCertificate(certificate, other_key)
    key.chmod(0o644)
    with pytest.raises(ConfigError, match=r"api\.tls_key .*every user of this machine can read it"):
        UserCertificate(certificate, key)


def test_renewal_that_failed_leaves_the_old_certificate(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    certificate, key = write_pair(tmp_path, ["localhost"])
    used = UserCertificate(certificate, key)
    key.write_bytes(b"half of a key")
    with caplog.at_level(logging.ERROR):
        assert not used.refresh()
    assert "is not usable" in caplog.text
    write_pair(tmp_path, ["localhost"])
    assert used.refresh()


async def test_plain_http_on_the_tls_port_is_closed(tmp_path: Path) -> None:
    config = ApiConfig(port=0, self_signed=True)
    async with serving(make_api(FakeDaemon(), config, folder=tmp_path)) as client:
        reader, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        async with asyncio.timeout(20):
            with contextlib.suppress(ConnectionResetError):
                assert b"HTTP" not in await reader.read()
        writer.close()
        assert (await client.get("/healthz")).status_code == 200


async def test_handshake_has_a_time_and_counts_as_a_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = ApiLimitsConfig(connections=2)
    config = ApiConfig(port=0, self_signed=True, limits=limits)
    monkeypatch.setattr(connections, "TLS_HANDSHAKE_TIMEOUT_S", 1.0)
    async with serving(make_api(FakeDaemon(), config, folder=tmp_path)) as client:
        port = client.base_url.port
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(12)]
        ended = [asyncio.ensure_future(reader.read()) for reader, _ in silent]
        async with asyncio.timeout(20):
            _, waiting = await asyncio.wait(ended, return_when=asyncio.FIRST_COMPLETED)
            assert waiting  # those above the limit are closed first, the others have their time
            await asyncio.wait(ended)
        assert (await client.get("/healthz")).status_code == 200
        for _, writer in silent:
            writer.transport.abort()


def test_old_tls_is_not_spoken() -> None:
    assert empty_tls_context().minimum_version is ssl.TLSVersion.TLSv1_2
