"""Opens a page in a browser where a person uses this machine."""

from __future__ import annotations

import os
import sys
import webbrowser
from collections.abc import Mapping
from typing import TextIO

_DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY")
# Systems that always have a screen, without a variable for it.
_DESKTOPS = ("darwin", "win32")


def is_watched(output: TextIO, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether a person reads ``output``: a terminal, and no automatic build."""
    return output.isatty() and not environment.get("CI")


def can_open_page(
    output: TextIO, environment: Mapping[str, str] = os.environ, platform: str = sys.platform
) -> bool:
    """Whether a browser would open on the screen of the person who reads ``output``.

    False for a terminal without a display, where a text browser would open.
    """
    if not is_watched(output, environment) or environment.get("SSH_CONNECTION"):
        return False
    return platform in _DESKTOPS or any(environment.get(name) for name in _DISPLAYS)


def open_page(address: str) -> bool:
    """Open ``address`` in a new tab; False if no browser could be started."""
    try:
        return webbrowser.open_new_tab(address)
    except webbrowser.Error:
        return False
