"""Hides user names, passwords and secret parameters in text that is logged or shown."""

from __future__ import annotations

import re

HIDDEN = "***"

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*://)([^\s'\"<>]*)")
_WHOLE_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*://)(.*)", re.DOTALL)
_SECRET_PARAMETER = re.compile(
    r"([?&;][\w.\-]*(?:pass|pwd|token|secret|key|sig|auth|credential|jwt)[\w.\-]*=)[^&;\s'\"<>#]*",
    re.IGNORECASE,
)
_AUTHORIZATION = re.compile(r"(authorization\s*:\s*)[^\r\n]+", re.IGNORECASE)


def redact(text: str) -> str:
    """``text`` without user names and passwords in URLs, and without secret parameters.

    Where it is unclear how far a password reaches (an ``@`` or ``/`` in it that should have been
    percent-encoded), more is hidden rather than less.
    """
    return _redact_parameters(_URL.sub(_hide_userinfo, text))


def redact_url(url: str) -> str:
    """``redact`` for a text that is one URL as a whole, blanks and quotes included."""
    return _redact_parameters(_WHOLE_URL.sub(_hide_userinfo, url))


def _redact_parameters(text: str) -> str:
    return _AUTHORIZATION.sub(rf"\1{HIDDEN}", _SECRET_PARAMETER.sub(rf"\1{HIDDEN}", text))


def _hide_userinfo(match: re.Match[str]) -> str:
    scheme, rest = match.groups()
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" in rest and ("@" in authority or ":" in authority):
        rest = f"{HIDDEN}@{rest.rpartition('@')[2]}"
    return f"{scheme}{rest}"
