"""Text of others on its way to a terminal or a log: what would act there is shown instead.

Cameras, media servers and publishers choose error messages, headers and names. An escape sequence
in them could rewrite a terminal, a line break could forge a line of the log, and marks of writing
direction could show a text in another order.
"""

from __future__ import annotations

import json
import re

# Control characters (C0, DEL, C1), zero-width and direction marks, line separators, tags, and
# halves of surrogate pairs. Joiners (U+200C, U+200D) stay: scripts and emoji need them.
_ACTIVE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


def escaped(text: str) -> str:
    """``text`` on one line, with each active character as in a JSON string (``\\u001b``).

    JSON stays JSON with the same value.
    """
    return _ACTIVE.sub(_shown, text)


def _shown(match: re.Match[str]) -> str:
    character = match[0]
    return "\\u007f" if character == "\x7f" else json.dumps(character)[1:-1]
