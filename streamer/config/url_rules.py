"""What a stream that is added or changed over the API may connect to, and with which options.

The daemon runs in a network of cameras, and often of more. A client that may add streams could
otherwise make it connect to anything it reaches, read its files, or send its passwords away. The
rules hold for a request, and again at every start for what was saved.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence

from streamer.config.streams import StreamConfig
from streamer.runtime.address import Address

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def _number(lowest: int, highest: int, unit: str) -> tuple[str, Callable[[str], bool]]:
    def is_allowed(value: str) -> bool:
        return bool(re.fullmatch(r"[0-9]{1,9}", value)) and lowest <= int(value) <= highest

    return f"a whole number between {lowest} and {highest} ({unit})", is_allowed


def _words(*known: str) -> tuple[str, Callable[[str], bool]]:
    def is_allowed(value: str) -> bool:
        return all(word in known for word in re.split(r"[+-]", value.removeprefix("+")))

    return f"one or more of {', '.join(known)}, joined by '+'", is_allowed


def _one_of(*known: str) -> tuple[str, Callable[[str], bool]]:
    return f"one of {', '.join(known)}" if known[1:] else f"{known[0]}", known.__contains__


# Everything else either names files (ca_file, protocols), opens ports (listen), goes another way
# (http_proxy), lets a playlist name protocols (protocol_whitelist, allowed_extensions) or weakens
# what the file demands (tls_verify). What FFmpeg buffers is bounded.
OPTIONS: dict[str, tuple[str, Callable[[str], bool]]] = {
    "analyzeduration": _number(0, 10_000_000, "µs"),
    "buffer_size": _number(1024, 16_777_216, "bytes"),
    "fflags": _words("nobuffer", "discardcorrupt", "genpts", "igndts", "sortdts"),
    "flags": _words("low_delay"),
    "max_delay": _number(0, 10_000_000, "µs"),
    "probesize": _number(32, 20_000_000, "bytes"),
    "reorder_queue_size": _number(0, 4096, "packets"),
    "rtsp_transport": _one_of("tcp", "udp", "udp_multicast"),
    "tls_verify": _one_of("1"),
}
# Parameters of a URL that FFmpeg itself reads; others open ports or name addresses.
_PARAMETERS = {
    "srt": {"streamid", "passphrase", "pbkeylen", "latency", "pkt_size"},
    "udp": {"pkt_size", "buffer_size", "fifo_size", "overrun_nonfatal"},
    "rtp": {"pkt_size", "buffer_size"},
    "tcp": set[str](),
}


class NotAllowedError(Exception):
    """A setting that the API may not set. ``where`` names it (``url``, ``options``)."""

    def __init__(self, where: str, detail: str) -> None:
        super().__init__(detail)
        self.where = where


class ConnectionRules:
    """The rules of ``api.url_schemes`` and ``api.url_hosts``.

    ``hosts`` are names, ``*.NAME``, addresses and networks. A name must be listed, and every
    address it has must be public or in a listed network: its DNS server must not lead the daemon
    inside. An address must be in a listed network.
    """

    def __init__(self, schemes: Sequence[str], hosts: Sequence[str]) -> None:
        self._schemes = frozenset(schemes)
        self._names = frozenset(host.lower().rstrip(".") for host in hosts if not _network(host))
        self._networks = [network for host in hosts if (network := _network(host)) is not None]

    def check_options(self, options: Mapping[str, str]) -> None:
        """Raise ``NotAllowedError`` for an unknown option or a value out of range."""
        for name, value in options.items():
            if name not in OPTIONS:
                raise NotAllowedError(
                    "options",
                    f"{name[:64]!r} cannot be set over the API (allowed: "
                    f"{', '.join(OPTIONS)}); set it in the configuration file",
                )
            meaning, is_allowed = OPTIONS[name]
            if not is_allowed(value):
                raise NotAllowedError("options", f"{name} must be {meaning}, got {value[:32]!r}")

    def check_address(self, address: Address) -> str | None:
        """Raise ``NotAllowedError`` for an address that is not allowed.

        Returns the name whose addresses are still to be checked with ``check_resolved``; None for
        an address without one.
        """
        scheme = address.scheme
        if scheme not in self._schemes:
            what = "files and devices" if scheme == "file" else f"{scheme!r} URLs"
            raise NotAllowedError(
                "url",
                f"{what} cannot be added over the API (api.url_schemes allows "
                f"{', '.join(sorted(self._schemes)) or 'none'})",
            )
        if scheme in ("file", "synthetic", "whip"):
            return None
        foreign = set(address.parameters) - _PARAMETERS.get(scheme, set(address.parameters))
        if foreign:
            raise NotAllowedError(
                "url",
                f"the parameter {min(foreign)[:64]!r} cannot be set over the API; set it in the "
                "configuration file",
            )
        found = _ip_address(address.host)
        if found is not None and self._is_listed(found):
            return None
        if found is not None or not self._is_named(address.host):
            raise NotAllowedError(
                "url", f"the host {address.host!r} is not among api.url_hosts; list it there"
            )
        return address.host

    def check_resolved(self, host: str, addresses: Sequence[str]) -> None:
        """Raise ``NotAllowedError`` where one of the ``addresses`` of ``host`` leads inside."""
        for text in addresses:
            address = _ip_address(text)
            if address is None or not (_is_public(address) or self._is_listed(address)):
                raise NotAllowedError(
                    "url",
                    f"{host} resolves to {text}, which is not public; list that address or its "
                    "network in api.url_hosts too",
                )

    def _is_named(self, name: str) -> bool:
        labels = name.split(".")
        wildcards = {f"*.{'.'.join(labels[start:])}" for start in range(1, len(labels))}
        return name in self._names or not self._names.isdisjoint(wildcards)

    def _is_listed(self, address: IpAddress) -> bool:
        return any(
            address.version == network.version and address in network for network in self._networks
        )


def bound_by(config: StreamConfig) -> str | None:
    """The setting that binds a stream to its place: what it holds must not go elsewhere."""
    for name in ("username_env", "password_env", "password_file"):
        if getattr(config, name) is not None:
            return name
    return next((f"options.{name}" for name in foreign_options(config)), None)


def foreign_options(config: StreamConfig) -> dict[str, str]:
    """The options that the API may not change: those it cannot set, and ``tls_verify``."""
    return {
        name: value
        for name, value in config.options.items()
        if name not in OPTIONS or name == "tls_verify"
    }


def _ip_address(text: str) -> IpAddress | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _network(text: str) -> _Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def _is_public(address: IpAddress) -> bool:
    """Whether it is a public address that wraps no other."""
    if isinstance(address, ipaddress.IPv6Address) and (
        address in _NAT64 or address.sixtofour is not None or address.teredo is not None
    ):
        return False
    return address.is_global and not address.is_multicast
