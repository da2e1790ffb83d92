"""Stream ids as they are typed, and ``ID=URL``."""

from __future__ import annotations

import pytest

from streamer.config.stream_id import parse_stream
from streamer.errors import ConfigError


@pytest.mark.parametrize(
    "text",
    ["gate=clip.mp4", "0=/dev/video0", "a-b_C9=x y=z", "g=rtsp://h/s?user=a&password=b==", "x=-"],
)
def test_everything_after_the_first_equals_sign_is_the_url(text: str) -> None:
    assert "=".join(parse_stream(text)) == text


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("gate", "there is no '='"),
        ("gate=", "nothing follows '='"),
        ("=rtsp://h/", "before '=', it is empty"),
        ("Tür=rtsp://h/", "before '=', it holds 'ü' (U+00FC)"),
        ("front door=rtsp://h/", "before '=', it holds ' ' (U+0020)"),
        ("-gate=rtsp://h/", "before '=', it begins with '-'"),
        ("a.b=rtsp://h/", "before '=', it holds '.' (U+002E)"),
        ("a\x1b[2J=x", "before '=', it holds '\\x1b' (U+001B)"),
        ("n" * 65 + "=x", "before '=', it has 65 characters"),
        ("rtsp://u:hunter2@h/s?a=b", "before '=', it holds ':' (U+003A)"),
    ],
)
def test_a_wrong_id_is_refused_with_its_fault(text: str, fault: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_stream(text)
    message = str(caught.value)
    assert message.startswith("a stream must be given as ID=URL, the id 1 to 64 letters (a-z, A-Z)")
    assert message.endswith(fault)
    assert "hunter2" not in message
    assert message.isprintable()
