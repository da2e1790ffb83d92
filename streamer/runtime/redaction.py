"""Hides user names, passwords and other secrets in text that is logged or shown."""

from __future__ import annotations

import re

from streamer.runtime.address import Address, AddressError
from streamer.runtime.shown_target import HIDDEN

_URL = re.compile(r"(?<![A-Za-z0-9+.\-])([A-Za-z0-9+.\-]+)://\S*")
_ENCODED_URL = re.compile(r"%3A%2F%2F\S*", re.IGNORECASE)
# What text puts around an address.
_CLOSING = "'\"<>.,:;!?)]}"
_SECRET = re.compile(
    r"""((?<![\w.\-])[\w.\-]{0,40}?(?:pass|pwd|psw|pswd|loginpas|token|secret|[_-]key|apikey|sig|auth|credential|
    jwt|streamid)
    [\w.\-]{0,40}(?:=|["']:\s*["']))[^&;\s'"<>]*""",
    re.IGNORECASE | re.VERBOSE,
)
_AUTHORIZATION = re.compile(r"(authorization['\"]?\s*:\s*)[^\r\n]+", re.IGNORECASE)
_BEARER = re.compile(r"\b(bearer\s+)\S{8,}", re.IGNORECASE)


def redact(text: str) -> str:
    """``text`` with its addresses as ``Address`` shows them, and without secret parameters.

    Where it is unclear how far a password reaches (a blank in it, or a ``/`` that should have been
    percent-encoded), more is hidden rather than less.
    """
    return "\n".join(_redacted_line(line) for line in text.split("\n"))


def _redacted_line(line: str) -> str:
    parts: list[str] = []
    position = 0
    found = _URL.search(line)
    while found:
        parts.append(_without_parameters(line[position : found.start()]))
        following = _URL.search(line, found.end())
        limit = following.start() if following else len(line)
        written = found[0].rstrip(_CLOSING)
        position = found.start() + len(written)
        last_at = line.rfind("@", position, limit)
        try:
            address = Address.split(written)
        except AddressError:
            address = None
        if address is None and last_at < 0 and not re.search(r"[@?=#]", found[0]):
            parts.append(written)  # tcp://*:5555, or an address that was cut short
        elif address is None or (address.may_be_userinfo and last_at >= 0):
            parts.append(f"{found[1]}://{HIDDEN}")
            position = max(found.end(), last_at + 1)
            while position < limit and not line[position].isspace():
                position += 1
        else:
            parts.append(str(address))
        found = following
    return "".join([*parts, _without_parameters(line[position:])])


def _without_parameters(text: str) -> str:
    for pattern in (_AUTHORIZATION, _BEARER, _SECRET):
        text = pattern.sub(rf"\1{HIDDEN}", text)
    return _ENCODED_URL.sub(f"%3A%2F%2F{HIDDEN}", text)
