"""The source each URL creates, and the errors for wrong URLs."""

from __future__ import annotations

import pytest

from streamer.config.streams import StreamConfig
from streamer.errors import ConfigError
from streamer.sources import make_source
from streamer.sources.base import Source
from streamer.sources.file import FileSource
from streamer.sources.live import LiveSource
from streamer.sources.rtsp.source import RtspSource
from streamer.sources.synthetic import SyntheticSource
from streamer.sources.whep import WhepSource


def source(url: str, **settings: object) -> Source:
    return make_source("gate", StreamConfig.read({"url": url, **settings}, "streams.gate"))


@pytest.mark.parametrize(
    ("url", "kind", "lossless"),
    [
        ("rtsp://cam/live", RtspSource, False),
        ("RTSPS://cam:322/live", RtspSource, False),
        ("http://cam:8080/stream.mjpg", LiveSource, False),
        ("srt://cam:9000?mode=caller", LiveSource, False),
        ("udp://:1234", LiveSource, False),
        ("whep://server:8889/live/whep", WhepSource, False),
        ("WHEPS://server/live?view=1", WhepSource, False),
        ("rtsp://[2001:db8::1]:554/live", RtspSource, False),
        ("/dev/video0", LiveSource, False),
        ("clips/dog.mp4", FileSource, False),
        ("file:///clips/a%20dog.mp4", FileSource, False),
        ("synthetic://match?seed=3", SyntheticSource, False),
    ],
)
def test_the_url_decides(url: str, kind: type, lossless: bool) -> None:
    made = source(url)
    assert isinstance(made, kind)
    assert made.lossless is lossless


def test_unpaced_files_and_scenes_are_lossless() -> None:
    assert source("dog.mp4", paced=False).lossless
    assert source("synthetic://match", paced=False).lossless
    assert not source("rtsp://cam/live", paced=False).lossless


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("rtsp:///live", "names no host"),
        ("rtsp://cam:70000/live", "port between 1 and 65535, got 70000"),
        ("rtsp://cam:port/live", "SCHEME://HOST:PORT/PATH"),
        ("rtsp://cam/my live", "space; write it as %20"),
        ("rtsp://ann:se/cret@cam/live", "user name or password '/' must be written as %2F"),
        ("rtsp://cam/li\nve", "control character"),
        ("file://", "names no file"),
        ("synthetic://circus", "scene must be match, got 'circus'"),
        ("synthetic://match?speed=2", "speed is not a parameter .*known: seed, width"),
        ("synthetic://match?width=wide", "width must be a whole number between 64 and 4096"),
        ("synthetic://match?rate_hz=0", "rate_hz must be a number between 0.1 and 240, got '0'"),
        ("synthetic://match?duration_s=nan", "duration_s must be a number"),
    ],
)
def test_a_wrong_url_names_the_setting_and_what_is_allowed(url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        source(url)
    assert "streams.gate.url" in str(caught.value)
    assert "cret" not in str(caught.value)


def test_shown_addresses_hold_no_secret() -> None:
    for url in ("rtsp://ann:s3cr3t@cam/live", "http://ann:s3cr3t@cam/live?token=s3cr3t"):
        assert "s3cr3t" not in source(url).redacted_url


def test_credentials_are_read_anew_for_each_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAM_PASSWORD", "first")
    source("rtsp://ann@cam/live", password_env="CAM_PASSWORD")
    monkeypatch.delenv("CAM_PASSWORD")
    with pytest.raises(ConfigError, match="CAM_PASSWORD is not set"):
        source("rtsp://ann@cam/live", password_env="CAM_PASSWORD")
