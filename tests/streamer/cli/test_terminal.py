"""Printed text is not changed."""

from __future__ import annotations

import io

from streamer.cli.terminal import Terminal


def test_square_brackets_are_no_markup() -> None:
    output = io.StringIO()
    Terminal(file=output, width=80).print("rtsp://[fe80::1]/1 clips/[/b].mp4")
    assert output.getvalue() == "rtsp://[fe80::1]/1 clips/[/b].mp4\n"
