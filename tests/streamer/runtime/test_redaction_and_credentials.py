"""Secrets are never shown; errors for wrong credentials settings name the next step."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.errors import ConfigError
from streamer.runtime.address import Address
from streamer.runtime.credentials import Credentials, credentials, url_with_credentials
from streamer.runtime.redaction import redact


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rtsp://ann:secret@cam/live", "rtsp://***@cam/live"),
        ("rtsp://ann@cam:554/live", "rtsp://***@cam:554/live"),
        ("opening 'rtsp://ann:a@b@cam/live' failed", "opening 'rtsp://***@cam/live' failed"),
        ("rtsp://ann:se/cret@cam/live", "rtsp://***"),
        ("rtsp://cam/live", "rtsp://cam/live"),
        ("http://cam/live@2x", "http://cam/***"),
        ("http://cam/v?token=abc&size=2", "http://cam/v?token=***&size=2"),
        ("http://cam/v?size=2&X-Amz-Signature=ab%20c", "http://cam/v?size=2&X-Amz-Signature=***"),
        ("opening rtsp://ann:my se'cret@cam/live failed", "opening rtsp://*** failed"),
        ("rtsp://ann:12 34@cam/live", "rtsp://***"),
        ("srt://cam:9000?passphrase=abc", "srt://cam:9000?passphrase=***"),
        ("Authorization: Basic YW5uOnNlY3JldA==", "Authorization: ***"),
        ("no address at all, ann@example.org", "no address at all, ann@example.org"),
    ],
)
def test_redact(text: str, expected: str) -> None:
    assert redact(text) == expected


printable = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=12)


@given(
    username=printable,
    password=printable,
    tail=st.sampled_from(["/live", "", ":554/a/b?channel=1"]),
)
def test_no_percent_encoded_credentials_survive(username: str, password: str, tail: str) -> None:
    url = url_with_credentials(Address.parse(f"rtsp://cam{tail}"), Credentials(username, password))
    hidden = f"rtsp://***@cam{tail}"
    assert redact(f"cannot open {url}: 401") == f"cannot open {hidden}: 401"
    assert str(Address.parse(url)) == hidden


def from_settings(url: str = "rtsp://cam/live", **settings: str | None) -> Credentials | None:
    values = {"username_env": None, "password_env": None, "password_file": None, **settings}
    environment = {"CAM_USER": "ann", "CAM_PASSWORD": "p@ss/w:rd"}
    return credentials("streams.gate", Address.parse(url), environment=environment, **values)


def test_credentials_come_from_environment_file_or_url(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("from file\n")
    expected = Credentials("ann", "p@ss/w:rd")
    assert from_settings() is None
    assert from_settings(username_env="CAM_USER", password_env="CAM_PASSWORD") == expected
    assert from_settings("rtsp://ann:p%40ss%2Fw%3Ard@cam/live") == expected
    assert from_settings("rtsp://bob:old@cam/", password_env="CAM_PASSWORD") == Credentials(
        "bob", "p@ss/w:rd"
    )
    assert from_settings(username_env="CAM_USER", password_file=str(file)) == Credentials(
        "ann", "from file"
    )


def test_credentials_are_percent_encoded_into_the_url_and_shown_by_no_repr() -> None:
    given_credentials = Credentials("a nn", "p@ss/w:rd")
    url = url_with_credentials(
        Address.parse("rtsp://old:one@[::1]:554/live?x=1"), given_credentials
    )
    assert url == "rtsp://a%20nn:p%40ss%2Fw%3Ard@[::1]:554/live?x=1"
    assert "p@ss" not in repr(given_credentials)
    assert url_with_credentials(Address.parse("rtsp://cam/live"), None) == "rtsp://cam/live"


def test_wrong_settings_name_the_key_and_the_next_step(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"streams.gate.password_env: .* NOPE is not set; export"):
        from_settings(username_env="CAM_USER", password_env="NOPE")
    with pytest.raises(ConfigError, match=r"no user name: set streams.gate.username_env"):
        from_settings(password_env="CAM_PASSWORD")
    with pytest.raises(ConfigError, match=r"streams.gate.password_file: .*No such file"):
        from_settings("rtsp://ann@cam/", password_file=str(tmp_path / "none"))
    large = tmp_path / "large"
    large.write_bytes(b"x" * 5000)
    with pytest.raises(ConfigError, match="larger than 4096 bytes"):
        from_settings("rtsp://ann@cam/", password_file=str(large))
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        from_settings("rtsp://ann@cam/", password_file=str(binary))
    binary.chmod(0o666)
    with pytest.raises(ConfigError, match=r"password_file: every user .* can change .*`chmod o-w "):
        from_settings("rtsp://ann@cam/", password_file=str(binary))
