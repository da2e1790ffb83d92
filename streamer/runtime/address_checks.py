"""What each part of an address may hold, and how a wrong one is to be written.

Messages follow the key of a setting ("streams.gate.url holds …") and quote no secret.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from urllib.parse import quote, unquote

import idna

MAXIMUM_CHARACTERS = 4096
_NAME = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")
_NUMBER = re.compile(r"(.*\.)?(\d+|0x[0-9a-f]*)")
_NOT_IN_TARGET = re.compile(r"[^A-Za-z0-9._~!$&'()*+,;=:@/?%-]")
_LONE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_IPV4 = re.compile(r"\d+(\.\d+){3}", re.ASCII)


class AddressError(ValueError):
    """Says what is wrong with an address, in words that follow its key. Quotes no secret."""


def lacks_scheme(text: str) -> bool:
    """Whether a path is rather ``10.0.0.9/live``, ``cam:554/live`` or ``ann:password@cam/live``."""
    first = text.partition("/")[0]
    name, _, port = first.rpartition(":")
    is_host = _IPV4.fullmatch(first) or (name and port.isdigit())
    return bool(is_host) or (":" in first and "@" in text)


def check_length(text: str) -> None:
    """Refuse what is longer than any program needs: it bounds the work of all other checks."""
    if len(text) > MAXIMUM_CHARACTERS:
        raise AddressError(f"must have at most {MAXIMUM_CHARACTERS} characters, got {len(text)}")


def check_characters(text: str) -> None:
    """Refuse what programs strip, split at or read differently."""
    check_length(text)
    for character in text:
        if not character.isprintable():
            raise AddressError(f"holds {named(character)}; remove it")
    if " " in text:
        raise AddressError("holds a space; write it as %20")
    if "\\" in text:
        raise AddressError("holds '\\'; write '/' between the parts of a path, and %5C elsewhere")


def named(character: str) -> str:
    """A character that may not be seen: ``U+00A0 (NO-BREAK SPACE)``."""
    return f"U+{ord(character):04X} ({unicodedata.name(character, 'a control character')})"


def check_percent(text: str) -> None:
    """Refuse a ``%`` that begins no code."""
    if _LONE_PERCENT.search(text):
        raise AddressError("holds a '%' without two hexadecimal digits; write '%' itself as %25")


def check_password(rest: str) -> None:
    """Refuse what may be a password that is not percent-encoded.

    A ``/``, ``?`` or ``#`` ends the host. One with an ``@`` behind it may stand in a password,
    unless the text before it can be no user name.
    """
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    tail = rest[len(authority) :]
    if "@" not in tail:
        return
    end = tail[0]
    path = tail.partition("?")[0]
    host = authority.rpartition("@")[2].lower()
    name, colon, port = host.rpartition(":")
    if not colon or host.endswith("]"):
        name, port = host, ""
    if end == "/" and re.fullmatch(r"\d*", port, re.ASCII):
        is_number = name.startswith("[") or _IPV4.fullmatch(name)
        # After a colon without a port, the ``/`` may be the first character of a password.
        may_be_password = bool(colon) and not port
        # What is asked for with an ``@`` has a name: ``?user=ann@home``.
        is_in_query = "@" not in path and "=" in tail[len(path) : tail.index("@")]
        if (is_in_query and not may_be_password) or is_number or name == "localhost":
            return
        is_in_path = "@" in path and not colon and ":" not in path[: path.rfind("@")]
        if is_in_path and ("@" not in authority or "." in name):
            return
    raise AddressError(
        f"holds {end!r} before an '@': in a user name or password {end!r} must be written as "
        f"%{ord(end):02X}; an '@' that belongs to a path or a query must be written as %40"
    )


def form_of(rest: str) -> str:
    """Say what is wrong with an authority that cannot be split."""
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")[2]
    if authority.count(":") > 1 and "[" not in authority:
        return "must have an IPv6 address in brackets: SCHEME://[ADDRESS]:PORT/PATH"
    if found := re.search(r"^[^:\[\]]*:(\d+)$", authority, re.ASCII):
        return f"must have a port between 1 and 65535, got {found[1][:8]}"
    return "must have the form SCHEME://HOST:PORT/PATH"


def checked_target(target: str) -> str:
    """``target`` as it is sent: other letters than ASCII's become UTF-8 (RFC 3987)."""
    check_characters(target)
    check_percent(target)
    encoded = "".join(each if each.isascii() else quote(each) for each in target)
    if found := _NOT_IN_TARGET.search(encoded):
        raise AddressError(f"holds {found[0]!r}; write it as %{ord(found[0]):02X}")
    return encoded


def checked_path(path: str) -> str:
    """A path of this machine, in characters that every program can show."""
    for character in path:
        if unicodedata.category(character) == "Cs":
            raise AddressError("must be text in UTF-8; rename the file, or link to it")
        if unicodedata.category(character) == "Cc":
            raise AddressError(f"holds U+{ord(character):04X} (a control character); remove it")
    return path


def decoded_userinfo(raw: str) -> str:
    """A user name or password as it is. Bytes that are no UTF-8 are kept."""
    check_percent(raw)
    decoded = unquote(raw, errors="surrogateescape")
    if any(unicodedata.category(each) == "Cc" for each in decoded):
        raise AddressError("holds a control character in its user name or password; remove it")
    return decoded


def checked_host(raw: str, *, is_bracketed: bool) -> str:
    """A host as every program reads it: a name in ASCII, or an address in its usual form."""
    if is_bracketed:
        address, _, zone = raw.partition("%")
        zone = zone[2:] if zone.startswith("25") and zone[2:] else zone
        try:
            host = str(ipaddress.IPv6Address(address))
        except ValueError:
            raise AddressError("must have an IPv6 address between its brackets") from None
        if "%" in raw and not re.fullmatch(r"[A-Za-z0-9._-]{1,15}", zone):
            raise AddressError("must have an interface (eth0) behind the '%' of its IPv6 address")
        return f"{host}%{zone}" if zone else host
    name = raw.lower()
    if not name.isascii():
        if found := re.search("[\u3002\uff0e\uff61]", name):
            raise AddressError(f"holds {found[0]!r} in its host; write '.'")
        try:
            name = idna.encode(name).decode()
        except idna.IDNAError:
            raise AddressError("must have a host name that exists; this one cannot") from None
    name = name.removesuffix(".")
    if found := re.search(r"[^a-z0-9._-]", name):
        raise AddressError(f"holds {found[0]!r} in its host; write only letters, digits, '.', '-'")
    if name and (len(name) > 253 or not _NAME.fullmatch(name)):
        raise AddressError("must have a host name of at most 253 letters, 63 between two dots")
    if _NUMBER.fullmatch(name):
        try:
            return str(ipaddress.IPv4Address(name))
        except ValueError:
            raise AddressError(
                "must write an IPv4 address as four numbers between 0 and 255, without zeros "
                "before them: 192.0.2.7"
            ) from None
    return name
