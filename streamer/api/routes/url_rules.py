"""Limits what a stream added over the API may connect to, so that it opens no way into the network.

The daemon runs in a network of cameras, and often of more. A client that may add streams could
otherwise make it connect to anything it reaches, read its files, or send its passwords away.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from streamer.api.server.problems import InvalidField, ProblemError
from streamer.config.streams import StreamConfig

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve = Callable[[str], Sequence[str]]

RESOLVE_TIMEOUT_S = 5.0
WITHOUT_HOST = frozenset({"synthetic", "whip"})
# Everything else either names files (ca_file, protocols), opens ports (listen), goes another way
# (http_proxy) or lets a playlist name protocols (protocol_whitelist, allowed_extensions).
OPTIONS = frozenset(
    {
        "analyzeduration",
        "buffer_size",
        "fflags",
        "flags",
        "max_delay",
        "probesize",
        "reorder_queue_size",
        "rtsp_transport",
        "tls_verify",
    }
)
_OPTION_VALUE = re.compile(r"[A-Za-z0-9_+-]{1,64}")
# Printable ASCII, except characters that programs interpret differently.
_URL = re.compile(r"[!#-;=?-\[\]_a-z~]+")
_HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class UrlRules:
    """The rules of ``api.url_schemes`` and ``api.url_hosts``.

    ``hosts`` are names, ``*.NAME``, addresses and networks. A name must be listed, and every
    address it has now must be public or in a listed network: its DNS server must not lead the
    daemon inside. An address must be in a listed network.
    """

    def __init__(
        self, schemes: Sequence[str], hosts: Sequence[str], resolve: Resolve | None = None
    ) -> None:
        """``resolve`` gives the addresses of a name; by default this machine's resolver."""
        self._schemes = frozenset(schemes)
        self._names = frozenset(host.lower().rstrip(".") for host in hosts if not _network(host))
        self._networks = [network for host in hosts if (network := _network(host)) is not None]
        self._resolve = resolve or _addresses_of

    async def check_new(self, settings: Mapping[str, Any]) -> None:
        """Settings of a stream to begin. Raises ``ProblemError`` (403, 422)."""
        self._check_options(settings)
        await self._check_url(str(settings["url"]))

    async def check_change(self, config: StreamConfig, settings: Mapping[str, Any]) -> None:
        """Changes to ``config``. Raises ``ProblemError`` (403, 422)."""
        self._check_options(settings)
        if "url" not in settings:
            return
        url = str(settings["url"])
        kept = [
            name
            for name in ("username_env", "password_env", "password_file")
            if getattr(config, name) is not None
        ]
        if kept and _place(url) != _place(config.url):
            raise _refused(
                "/url",
                f"this stream takes its credential from {kept[0]}, which goes to "
                "the configured host only; change both in the configuration file",
            )
        await self._check_url(url)

    def _check_options(self, settings: Mapping[str, Any]) -> None:
        for name, value in settings.get("options", {}).items():
            if name not in OPTIONS:
                raise _refused(
                    "/options",
                    f"{name[:64]!r} cannot be set over the API (allowed: "
                    f"{', '.join(sorted(OPTIONS))}); set it in the configuration file",
                )
            if not _OPTION_VALUE.fullmatch(value):
                raise _refused("/options", f"{name} must be a word or a number")

    async def _check_url(self, url: str) -> None:
        scheme, separator, _ = url.partition("://")
        scheme = scheme.lower()
        if not separator:
            scheme = "file"
        if scheme not in self._schemes:
            what = "files and devices" if scheme == "file" else f"{scheme[:16]!r} URLs"
            raise _refused(
                "/url",
                f"{what} cannot be added over the API (api.url_schemes allows "
                f"{', '.join(sorted(self._schemes)) or 'none'})",
            )
        if scheme == "file" or scheme in WITHOUT_HOST:
            return
        await self._check_host(_host(url))

    async def _check_host(self, host: str) -> None:
        address = _address(host)
        if address is not None:
            if not self._is_listed(address):
                raise self._not_allowed(host)
            return
        name = host.lower().rstrip(".")
        if not self._is_named(name):
            raise self._not_allowed(host)
        try:
            async with asyncio.timeout(RESOLVE_TIMEOUT_S):
                found = await asyncio.to_thread(self._resolve, name)
        except (OSError, UnicodeError, TimeoutError):
            raise ProblemError(
                422,
                f"/url: the host {host} has no address; check the name",
                "invalid_settings",
                errors=[InvalidField("/url", f"the host {host} has no address")],
            ) from None
        for text in found:
            address = _address(text)
            if address is None or not (_is_public(address) or self._is_listed(address)):
                raise _refused(
                    "/url",
                    f"{host} resolves to {text}, which is not public; list that address or its "
                    "network in api.url_hosts too",
                )

    def _is_named(self, name: str) -> bool:
        labels = name.split(".")
        wildcards = {f"*.{'.'.join(labels[start:])}" for start in range(1, len(labels))}
        return name in self._names or not self._names.isdisjoint(wildcards)

    def _is_listed(self, address: Address) -> bool:
        return any(
            address.version == network.version and address in network for network in self._networks
        )

    def _not_allowed(self, host: str) -> ProblemError:
        return _refused("/url", f"the host {host} is not among api.url_hosts; list it there")


def _refused(location: str, detail: str) -> ProblemError:
    return ProblemError(
        403,
        f"{location}: {detail}",
        "url_not_allowed",
        errors=[InvalidField(location, detail)],
    )


def _host(url: str) -> str:
    """The host that every program reads from this URL. Raises ``ProblemError`` (422)."""
    authority = re.split(r"[/?#]", url.partition("://")[2], maxsplit=1)[0]
    host, colon, port = authority.rpartition("@")[2], "", ""
    if not host.endswith("]"):
        host, colon, port = host.rpartition(":") if ":" in host else (host, "", "")
    clear = (
        _URL.fullmatch(url)
        and _HOST.fullmatch(host)
        and (not colon or (port.isascii() and port.isdigit()))
    )
    if clear:
        try:
            clear = (urlsplit(url).hostname or "") == host.strip("[]").lower()
        except ValueError:
            clear = False
    if not clear:
        detail = (
            "must be SCHEME://HOST[:PORT]/PATH in printable ASCII; write other characters, and "
            "those of a password, as %XX"
        )
        raise ProblemError(
            422, f"/url: {detail}", "invalid_settings", errors=[InvalidField("/url", detail)]
        )
    return host


def _place(url: str) -> str:
    """Scheme, host and port of a URL, to compare where two lead."""
    scheme, _, rest = url.partition("://")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    return f"{scheme}://{authority.rpartition('@')[2]}".lower()


def _address(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text.strip("[]").partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _network(text: str) -> Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def _is_public(address: Address) -> bool:
    """Whether it is a public address that wraps no other."""
    if isinstance(address, ipaddress.IPv6Address) and (
        address in _NAT64 or address.sixtofour is not None or address.teredo is not None
    ):
        return False
    return address.is_global and not address.is_multicast


def _addresses_of(name: str) -> list[str]:
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return [str(address[0]) for _, _, _, _, address in found]
