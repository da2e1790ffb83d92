"""Changing a stream's settings, and the differences of two streams."""

from __future__ import annotations

import pytest

from streamer.config.starters import StarterConfig
from streamer.config.stream_changes import changed_stream, settings_of, settings_that_differ
from streamer.config.streams import ObjectConfig, ReconnectConfig, SmoothingConfig, StreamConfig
from streamer.errors import ConfigError

GATE = StreamConfig(
    url="rtsp://camera/1",
    max_objects=4,
    objects=[ObjectConfig(id=1, label="door", box=[0, 0, 9, 9])],
    reconnect=ReconnectConfig(initial_s=2.0),
    options={"rtbufsize": "5"},
)

USUAL = StarterConfig(kind="motion", label="player")


def test_starter_may_be_given_in_part() -> None:
    own = changed_stream("streams.gate", GATE, {"starter": {"minimum_hits": 2}}, USUAL)
    assert own.starter == StarterConfig(kind="motion", label="player", minimum_hits=2)
    more = changed_stream("streams.gate", own, {"starter": {"kind": "boxes"}}, USUAL)
    assert more.starter == StarterConfig(kind="boxes", label="player", minimum_hits=2)
    assert changed_stream("streams.gate", more, {"starter": None}, USUAL).starter is None


def test_settings_that_are_not_given_do_not_change() -> None:
    changed = changed_stream("streams.gate", GATE, {"url": "rtsp://camera/2"}, USUAL)
    assert changed.url.text == "rtsp://camera/2"
    assert changed.objects == GATE.objects
    assert changed.max_objects == 4


def test_reconnect_and_smoothing_may_be_given_in_part_and_options_as_a_whole() -> None:
    changed = changed_stream(
        "streams.gate",
        GATE,
        {"reconnect": {"maximum_s": 9}, "options": {"fflags": "nobuffer"}},
        USUAL,
    )
    assert changed.reconnect == ReconnectConfig(initial_s=2.0, maximum_s=9.0)
    assert changed.options == {"fflags": "nobuffer"}
    smoother = changed_stream("streams.gate", changed, {"smoothing": {"masks": 0.3}}, USUAL)
    smoother = changed_stream("streams.gate", smoother, {"smoothing": {"boxes": True}}, USUAL)
    assert smoother.smoothing == SmoothingConfig(boxes=True, masks=0.3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"urls": "x"}, r"streams\.gate\.urls is not a setting; did you mean url\?"),
        ({"max_objects": "many"}, r"streams\.gate\.max_objects must be a whole number"),
        ({"reconnect": 5}, r"streams\.gate\.reconnect must be a mapping"),
        ({"reconnect": {"first": 5}}, r"streams\.gate\.reconnect\.first is not a setting"),
        ({"url": None}, r"streams\.gate\.url must be text, got a value that is not shown"),
        ({"objects": []}, r"streams\.gate\.objects cannot be changed while the stream runs"),
    ],
)
def test_wrong_change_is_refused_with_its_key(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        changed_stream("streams.gate", GATE, settings, USUAL)


def test_differences_turn_one_stream_into_the_other() -> None:
    changed = changed_stream("streams.gate", GATE, {"url": "rtsp://b", "paused": True}, USUAL)
    differences = settings_that_differ(changed, GATE)
    assert differences == {"url": "rtsp://b", "paused": True}
    assert changed_stream("streams.gate", GATE, differences, USUAL) == changed
    assert settings_that_differ(GATE, GATE) == {}


def test_settings_of_a_stream_recreate_it() -> None:
    assert settings_of(StreamConfig(url="rtsp://x")) == {"url": "rtsp://x"}
    assert StreamConfig.read(settings_of(GATE)) == GATE
