"""Text of others: what would act in a terminal or a log is shown."""

from __future__ import annotations

import json

import pytest

from streamer.runtime.escaping import escaped


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("401 Unauthorized", "401 Unauthorized"),
        ("Tür 门 🐕 👩\u200d🚒 נ", "Tür 门 🐕 👩\u200d🚒 נ"),
        ("\x1b[2J\x1b]0;owned\x07", "\\u001b[2J\\u001b]0;owned\\u0007"),
        ("a\r\nb\tc\0", "a\\r\\nb\\tc\\u0000"),
        ("\x9b31m\x7f\x85", "\\u009b31m\\u007f\\u0085"),
        ("gpj.\u202eexe\u2066\u200f", "gpj.\\u202eexe\\u2066\\u200f"),
        ("line\u2028break\u2029", "line\\u2028break\\u2029"),
        ("\ufeff\U000e0041\udc80", "\\ufeff\\udb40\\udc41\\udc80"),
    ],
)
def test_active_characters_are_shown(text: str, shown: str) -> None:
    assert escaped(text) == shown
    assert escaped(shown) == shown


def test_json_keeps_its_value() -> None:
    value = {"detail": "\x1b[31m\x7f\x9b\u202e\n\U000e0041 Tür"}
    line = escaped(json.dumps(value, ensure_ascii=False))
    assert json.loads(line) == value
    assert line.isprintable()
