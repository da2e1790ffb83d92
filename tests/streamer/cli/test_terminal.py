"""Printed text is not changed, except for what would act in a terminal."""

from __future__ import annotations

import io

from rich.table import Table
from rich.text import Text

from streamer.cli.terminal import Terminal


def test_square_brackets_are_no_markup() -> None:
    output = io.StringIO()
    Terminal(file=output, width=80).print("rtsp://[fe80::1]/1 clips/[/b].mp4")
    assert output.getvalue() == "rtsp://[fe80::1]/1 clips/[/b].mp4\n"


def test_escape_sequences_of_others_are_shown_and_rich_s_own_are_sent() -> None:
    output = io.StringIO()
    table = Table("name")
    table.add_row("a\x1b[2Jb")
    terminal = Terminal(file=output, width=80, force_terminal=True, color_system="standard")
    terminal.print(Text("\x9b1m\u202ered", style="red"), table)
    said = output.getvalue()
    assert "\\u009b1m\\u202ered" in said
    assert "a\\u00" in said  # cut by the table
    assert "\x1b[31m" in said
    assert not {"\x9b", "\u202e"} & set(said)
    assert "\x1b[2J" not in said
