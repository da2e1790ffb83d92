"""The address of a stream, parsed once and strictly; what is checked is what is opened.

Where two programs split a text differently, one checks a host and the other connects to another. An
``Address`` is therefore compared, shown, stored and rebuilt from its parts, not from the text, and
a text that leaves a doubt is refused with the character that is wrong and how to write it.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import parse_qsl, quote, unquote

from yarl import URL

from streamer.runtime.address_checks import (
    MAXIMUM_CHARACTERS,
    AddressError,
    check_characters,
    check_length,
    check_password,
    check_percent,
    checked_host,
    checked_path,
    checked_target,
    decoded_userinfo,
    form_of,
    lacks_scheme,
    named,
)
from streamer.runtime.shown_target import HIDDEN, shown_target

__all__ = ["DEFAULT_PORTS", "MAXIMUM_CHARACTERS", "SCHEMES", "Address", "AddressError"]

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
_NO_SCHEME = (
    "must begin with a scheme and '://', as in rtsp://HOST/PATH; write ./ before the name of a file"
)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*):")
# Without its colon, or in the wide forms that keyboards of East Asia type.
_TYPED_SCHEME = re.compile(rf"({'|'.join(SCHEMES)})[:\uff1a]?[/\uff0f]{{2}}", re.IGNORECASE)
_DEVICE = re.compile(r"/dev/(video\d+|v4l/by-(id|path)/[^/]+)")


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
        check_length(text)
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
            if "://" in rest:
                raise AddressError(f"begins with two schemes; remove {scheme}://")
            if not re.match(r"[\w.-]*(?:[/?]|$)", rest, re.ASCII):
                raise AddressError(f"{scheme}:// is followed by letters, digits, '_', '.' and '-'")
            return cls(scheme, checked_target(rest))
        address = cls.split(text)
        if not address.host and scheme not in _LISTENING:
            raise AddressError(f"names no host; write {scheme}://HOST/PATH")
        if address.host in SCHEMES and address.target.startswith("//"):
            raise AddressError(f"begins with two schemes; remove {scheme}://")
        if address.port is None and DEFAULT_PORTS[scheme] is None:
            raise AddressError(f"names no port, and {scheme} has no usual one; write HOST:PORT")
        return address

    @classmethod
    def split(cls, text: str) -> Self:
        """The parts of ``SCHEME://[USER[:PASSWORD]@][HOST][:PORT][/PATH][?QUERY]``, any scheme.

        Raises ``AddressError``.
        """
        check_characters(text)
        scheme, _, rest = text.partition("://")
        check_password(rest)
        if "#" in rest:
            raise AddressError("holds '#', which is never sent to a server; write it as %23")
        try:
            url = URL(text, encoded=True)
            authority, host, port = url.raw_authority, url.raw_host, url.explicit_port
            user, password = url.raw_user, url.raw_password
        except ValueError:
            raise AddressError(form_of(rest)) from None
        tail = rest.removeprefix(authority)
        if tail[:1] not in ("", "/", "?"):
            raise AddressError(form_of(rest))
        if port is not None and not (port and re.search(rf":0*{port}$", authority, re.ASCII)):
            raise AddressError(form_of(rest))
        has_user = user is not None or password is not None
        address = cls(
            scheme.lower(),
            checked_target(tail),
            checked_host(host or "", is_bracketed="[" in authority.rpartition("@")[2]),
            port,
            decoded_userinfo(user or "") if has_user else None,
            None if password is None else decoded_userinfo(password),
        )
        check_length(address.text)  # percent-encoded, it may be three times as long
        return address

    @classmethod
    def _path(cls, text: str, scheme: str) -> Self:
        """What is written without ``://``: a path."""
        if scheme == "file":
            return cls._file(text[len("file:") :])
        if scheme in SCHEMES or lacks_scheme(text) or _TYPED_SCHEME.match(text):
            raise AddressError(_NO_SCHEME)
        if _seems_pasted(text):
            begin = "" if text[0].isalnum() else f"; it begins with {named(text[0])}"
            raise AddressError(f"{_NO_SCHEME}{begin}")
        if re.match(r"[A-Za-z]:[\\/]|\\\\", text):
            raise AddressError("is a path of Windows; write the path that it has on this machine")
        return cls("file", checked_path(text))

    @classmethod
    def _file(cls, rest: str) -> Self:
        """What follows ``file:`` or ``file://`` (RFC 8089); a relative path is understood too."""
        if rest.startswith("localhost/"):
            rest = rest.removeprefix("localhost")
        check_percent(rest)
        path = unquote(rest, errors="surrogateescape")
        if not path:
            raise AddressError("names no file; write file:///PATH or the path itself")
        is_mistaken = _SCHEME.match(path) or lacks_scheme(path) or _seems_pasted(path)
        begin = "./" if is_mistaken or path[0].isspace() else ""
        return cls("file", checked_path(begin + path))

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
        check_characters(reference)
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


def _seems_pasted(path: str) -> bool:
    """An address with quotes around it, or with what is not seen before it."""
    return "://" in path and path[0] not in "./~"
