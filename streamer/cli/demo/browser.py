"""Opening a page in the browser of whoever sits in front of this machine, if anybody does."""

from __future__ import annotations

import os
import sys
import webbrowser
from collections.abc import Mapping
from typing import TextIO

_DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY")
# Where there is always a screen, and no variable that says so.
_DESKTOPS = ("darwin", "win32")


def is_watched(output: TextIO, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether a person reads ``output``: a terminal, and no automatic build."""
    return output.isatty() and not environment.get("CI")


def can_open_page(
    output: TextIO, environment: Mapping[str, str] = os.environ, platform: str = sys.platform
) -> bool:
    """Whether a browser would appear before the person who reads ``output``.

    A terminal without a display is left alone: a text browser would take its place.
    """
    if not is_watched(output, environment) or environment.get("SSH_CONNECTION"):
        return False
    return platform in _DESKTOPS or any(environment.get(name) for name in _DISPLAYS)


def open_page(address: str) -> bool:
    """Open ``address`` in a new tab; False where no browser could be started."""
    try:
        return webbrowser.open_new_tab(address)
    except webbrowser.Error:
        return False
