"""The address of a stream, parsed once and strictly; what is checked is what is opened.

Where two programs split a text differently, one checks a host and the other connects to another. An
``Address`` is therefore compared, shown, stored and rebuilt from its parts, not from the text, and
a text that leaves a doubt is refused with the character that is wrong and how to write it.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
import unicodedata
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import parse_qsl, quote, unquote

import idna
from yarl import URL

from streamer.runtime.shown_target import HIDDEN, shown_target

# Schemes with a host, and their usual ports; those without one must name a port.
DEFAULT_PORTS: dict[str, int | None] = {
    "rtsp": 554, "rtsps": 322, "http": 80, "https": 443, "srt": None, "rtmp": 1935, "rtmps": 443,
    "rtp": None, "udp": None, "tcp": None, "whep": 80, "wheps": 443,
}  # fmt: skip
SCHEMES = (
    "rtsp", "rtsps", "http", "https", "srt", "rtmp", "rtmps", "rtp", "udp", "tcp", "file",
    "synthetic", "whip", "whep", "wheps",
)  # fmt: skip
# They may listen for a sender on an address of this machine: udp://:1234.
_LISTENING = ("udp", "rtp", "srt", "tcp")
_RULE = (
    ", ".join(f"{scheme}://…" for scheme in SCHEMES)
    + ", a path of a video file or a device such as /dev/video0"
)
MAXIMUM_CHARACTERS = 4096
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*):")
_NAME = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")
_NUMBER = re.compile(r"(.*\.)?(\d+|0x[0-9a-f]*)")
_NOT_IN_TARGET = re.compile(r"[^A-Za-z0-9._~!$&'()*+,;=:@/?%-]")
_LONE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_IPV4 = re.compile(r"\d+(\.\d+){3}", re.ASCII)
_DEVICE = re.compile(r"/dev/(video\d+|v4l/by-(id|path)/[^/]+)")


class AddressError(ValueError):
    """Says what is wrong with an address, in words that follow its key. Quotes no secret."""


@dataclass(frozen=True, slots=True)
class Address:
    """An address in parts. ``str`` and ``repr`` show it without secrets, ``text`` is all of it.

    ``host`` is lower-case ASCII without brackets, an IPv6 zone after ``%``; ``username`` and
    ``password`` are not percent-encoded. ``target`` is what follows the host, as it is sent; of a
    file its path, of a scene its name and parameters.
    """

    scheme: str
    target: str = field(default="", repr=False)
    host: str = ""
    port: int | None = None
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """The address that ``text`` writes. Raises ``AddressError``."""
        text = text.strip(" \t\r\n")
        if not text:
            raise AddressError(f"must be {_RULE}; it is empty")
        _check_length(text)
        found = _SCHEME.match(text)
        scheme = found[1].lower() if found else ""
        if not found or not text.startswith("//", found.end()):
            return cls._path(text, scheme)
        if scheme not in SCHEMES:
            close = difflib.get_close_matches(scheme, SCHEMES, n=1)
            meant = f"; did you mean {close[0]}://?" if close else ""
            raise AddressError(
                f"must be {_RULE}, got one that begins with '{scheme[:16]}://'{meant}"
            )
        rest = text[found.end() + 2 :]
        if scheme == "file":
            return cls._file(rest)
        if scheme == "whip" and rest:
            raise AddressError(
                "must be whip:// and nothing more: a publisher connects to this daemon, at "
                "/v1/streams/ID/whip (to fetch a stream from a media server, write "
                "whep://HOST/PATH)"
            )
        if scheme not in DEFAULT_PORTS:
            return cls(scheme, _checked_target(rest))
        address = cls.split(text)
        if not address.host and scheme not in _LISTENING:
            raise AddressError(f"names no host; write {scheme}://HOST/PATH")
        if address.port is None and DEFAULT_PORTS[scheme] is None:
            raise AddressError(f"names no port, and {scheme} has no usual one; write HOST:PORT")
        return address

    @classmethod
    def split(cls, text: str) -> Self:
        """The parts of ``SCHEME://[USER[:PASSWORD]@][HOST][:PORT][/PATH][?QUERY]``, any scheme.

        Raises ``AddressError``.
        """
        _check_characters(text)
        scheme, _, rest = text.partition("://")
        _check_password(rest)
        if "#" in rest:
            raise AddressError("holds '#', which is never sent to a server; write it as %23")
        try:
            url = URL(text, encoded=True)
            authority, host, port = url.raw_authority, url.raw_host, url.explicit_port
            user, password = url.raw_user, url.raw_password
        except ValueError:
            raise AddressError(_form_of(rest)) from None
        tail = rest.removeprefix(authority)
        if tail[:1] not in ("", "/", "?"):
            raise AddressError(_form_of(rest))
        if port is not None and not (port and re.search(rf":0*{port}$", authority, re.ASCII)):
            raise AddressError(_form_of(rest))
        has_user = user is not None or password is not None
        address = cls(
            scheme.lower(),
            _checked_target(tail),
            _checked_host(host or "", is_bracketed="[" in authority.rpartition("@")[2]),
            port,
            _decoded_userinfo(user or "") if has_user else None,
            None if password is None else _decoded_userinfo(password),
        )
        _check_length(address.text)  # percent-encoded, it may be three times as long
        return address

    @classmethod
    def _path(cls, text: str, scheme: str) -> Self:
        """What is written without ``://``: a path."""
        if scheme == "file":
            return cls._file(text[len("file:") :])
        if scheme in SCHEMES or text.startswith("://") or _lacks_scheme(text):
            raise AddressError(
                "must begin with a scheme and '://', as in rtsp://HOST/PATH; write ./ before the "
                "name of a file"
            )
        if re.match(r"[A-Za-z]:[\\/]|\\\\", text):
            raise AddressError("is a path of Windows; write the path that it has on this machine")
        return cls("file", _checked_path(text))

    @classmethod
    def _file(cls, rest: str) -> Self:
        """What follows ``file:`` or ``file://`` (RFC 8089); a relative path is understood too."""
        if rest.startswith("localhost/"):
            rest = rest.removeprefix("localhost")
        _check_percent(rest)
        path = unquote(rest, errors="surrogateescape")
        if not path:
            raise AddressError("names no file; write file:///PATH or the path itself")
        begin = "./" if _SCHEME.match(path) or _lacks_scheme(path) else ""
        return cls("file", _checked_path(begin + path))

    def __str__(self) -> str:
        if self.scheme == "file":
            return self.target
        is_scene = self.scheme == "synthetic"
        target = self.target if is_scene else shown_target(self.scheme, self.target)
        hidden = "" if self.username is None else f"{HIDDEN}@"
        return f"{self.scheme}://{hidden}{self._host_and_port('%25')}{target}"

    @property
    def text(self) -> str:
        """The whole address, with its password: for the file that keeps it."""
        return self._written("%25")

    @property
    def url(self) -> str:
        """``text`` for the library that connects, which takes an IPv6 zone as it is."""
        return self._written("%")

    @property
    def place(self) -> tuple[str, str, int | None]:
        """Where it leads: scheme, host and port."""
        return self.scheme, self.host, self.port or DEFAULT_PORTS.get(self.scheme)

    @property
    def may_be_userinfo(self) -> bool:
        """Whether the text may be the beginning of an address: ``rtsp://ann:12`` of a password."""
        is_name = not re.search("[.:]|^localhost$", self.host)
        return is_name and self.username is None and self.port is not None

    @property
    def is_device(self) -> bool:
        """Whether it is a camera of this machine."""
        return self.scheme == "file" and bool(_DEVICE.fullmatch(self.target))

    @property
    def path(self) -> str:
        """The target without parameters."""
        return self.target if self.scheme == "file" else self.target.partition("?")[0]

    @property
    def parameters(self) -> dict[str, str]:
        """What follows ``?``, decoded."""
        return dict(parse_qsl(self.target.partition("?")[2], keep_blank_values=True))

    def joined(self, reference: str) -> Address:
        """The address that ``reference`` (``Location``) means here. Raises ``AddressError``."""
        _check_characters(reference)
        try:
            joined = URL(self.text, encoded=True).join(URL(reference, encoded=True))
        except ValueError:
            raise AddressError("is no address") from None
        return Address.parse(str(joined))

    def _host_and_port(self, zone_mark: str) -> str:
        host = f"[{self.host.replace('%', zone_mark)}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"

    def _written(self, zone_mark: str) -> str:
        if self.scheme == "file":
            return self.target
        userinfo = ""
        if self.username is not None:
            userinfo = quote(self.username, safe="", errors="surrogateescape")
            if self.password is not None:
                userinfo += ":" + quote(self.password, safe="", errors="surrogateescape")
            userinfo += "@"
        return f"{self.scheme}://{userinfo}{self._host_and_port(zone_mark)}{self.target}"


def _lacks_scheme(text: str) -> bool:
    """Whether a path is rather ``10.0.0.9/live``, ``cam:554/live`` or ``ann:password@cam/live``."""
    first = text.partition("/")[0]
    name, _, port = first.rpartition(":")
    is_host = _IPV4.fullmatch(first) or (name and port.isdigit())
    return bool(is_host) or (":" in first and "@" in text)


def _check_length(text: str) -> None:
    if len(text) > MAXIMUM_CHARACTERS:
        raise AddressError(f"must have at most {MAXIMUM_CHARACTERS} characters, got {len(text)}")


def _check_characters(text: str) -> None:
    """Refuse what programs strip, split at or read differently."""
    _check_length(text)
    for character in text:
        if not character.isprintable():
            name = unicodedata.name(character, "a control character")
            raise AddressError(f"holds U+{ord(character):04X} ({name}); remove it")
    if " " in text:
        raise AddressError("holds a space; write it as %20")
    if "\\" in text:
        raise AddressError("holds '\\'; write '/' between the parts of a path, and %5C elsewhere")


def _check_percent(text: str) -> None:
    if _LONE_PERCENT.search(text):
        raise AddressError("holds a '%' without two hexadecimal digits; write '%' itself as %25")


def _check_password(rest: str) -> None:
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
        if "@" not in path or is_number or name == "localhost":
            return
        is_in_path = not port and ":" not in path[: path.rfind("@")]
        if is_in_path and ("@" not in authority or "." in name):
            return
    raise AddressError(
        f"holds {end!r} before an '@': in a user name or password {end!r} must be written as "
        f"%{ord(end):02X}; an '@' that belongs to a path or a query must be written as %40"
    )


def _form_of(rest: str) -> str:
    """What is wrong with an authority that cannot be split."""
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")[2]
    if authority.count(":") > 1 and "[" not in authority:
        return "must have an IPv6 address in brackets: SCHEME://[ADDRESS]:PORT/PATH"
    if found := re.search(r"^[^:\[\]]*:(\d+)$", authority, re.ASCII):
        return f"must have a port between 1 and 65535, got {found[1][:8]}"
    return "must have the form SCHEME://HOST:PORT/PATH"


def _checked_target(target: str) -> str:
    """``target`` as it is sent: other letters than ASCII's become UTF-8 (RFC 3987)."""
    _check_characters(target)
    _check_percent(target)
    encoded = "".join(each if each.isascii() else quote(each) for each in target)
    if found := _NOT_IN_TARGET.search(encoded):
        raise AddressError(f"holds {found[0]!r}; write it as %{ord(found[0]):02X}")
    return encoded


def _checked_path(path: str) -> str:
    for character in path:
        if unicodedata.category(character) == "Cs":
            raise AddressError("must be text in UTF-8; rename the file, or link to it")
        if unicodedata.category(character) == "Cc":
            raise AddressError(f"holds U+{ord(character):04X} (a control character); remove it")
    return path


def _decoded_userinfo(raw: str) -> str:
    _check_percent(raw)
    decoded = unquote(raw, errors="surrogateescape")
    if any(unicodedata.category(each) == "Cc" for each in decoded):
        raise AddressError("holds a control character in its user name or password; remove it")
    return decoded


def _checked_host(raw: str, *, is_bracketed: bool) -> str:
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
            raise AddressError("must write an IPv4 address as four numbers: 192.0.2.7") from None
    return name
