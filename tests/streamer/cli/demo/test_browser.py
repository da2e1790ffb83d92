"""The page is opened only for a person with a display."""

from __future__ import annotations

from io import StringIO

import pytest

from streamer.cli.demo.browser import can_open_page, is_watched


class Terminal(StringIO):
    """A text stream that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("output", "environment", "platform", "is_opened"),
    [
        (Terminal(), {"DISPLAY": ":0"}, "linux", True),
        (Terminal(), {"WAYLAND_DISPLAY": "wayland-0"}, "linux", True),
        (Terminal(), {}, "darwin", True),
        (Terminal(), {}, "linux", False),
        (Terminal(), {"DISPLAY": ":0", "CI": "true"}, "linux", False),
        (
            Terminal(),
            {"DISPLAY": ":10", "SSH_CONNECTION": "10.0.0.1 1"},
            "linux",
            False,
        ),
        (StringIO(), {"DISPLAY": ":0"}, "linux", False),
    ],
)
def test_page_is_opened_only_where_a_person_sees_it(
    output: StringIO, environment: dict[str, str], platform: str, is_opened: bool
) -> None:
    assert can_open_page(output, environment, platform) is is_opened


def test_a_build_is_not_watched_even_in_a_terminal() -> None:
    assert is_watched(Terminal(), {})
    assert not is_watched(Terminal(), {"CI": "1"})
    assert not is_watched(StringIO(), {})
