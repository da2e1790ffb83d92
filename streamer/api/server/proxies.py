"""Requests that came through a proxy: which proxies are believed, and the client they name.

Any client can write these headers, so that only those of a listed proxy count. A server without
tokens answers none that has one: behind a proxy on this machine everybody comes from loopback.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from streamer.api.server.problems import ProblemError

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Written by proxies, load balancers and content networks; no browser or program sends one itself.
_OF_PROXIES = re.compile(
    r".*forwarded.*|(.*-)?via|cdn-loop|(x-)?(front-end-)?https|(x-)?url-scheme|x-scheme|"
    r"(cf|x-amzn|x-amz-cf|x-envoy|x-original|x-rewrite|x-varnish|x-arr|x-azure|x-real|tailscale|"
    r"(x-)?remote|x-auth-request|x-appengine|x-cloud-trace|x-goog|fly|x-vercel|(x-)?akamai)(-.*)?|"
    r"(.*-)?proxy(\w*)(-.*)?|(.*-)?(client|socket)?(ip|ipv6|addr|address)"
)
# Of Forwarded: a client chooses what is in a quoted string, such as the host.
_QUOTE_OR_ESCAPE = re.compile(r'\\.|"')
_PAIR = re.compile(r'(?:^|;)\s*(\w+)\s*=\s*("(?:[^"\\]|\\.)*"|[^;]*)')
# Bound on the hops that are looked at, nearest first; a chain of proxies is shorter.
_HOPS = 32


class TrustedProxies:
    """The proxies of ``api.trusted_proxies``: addresses and networks."""

    def __init__(self, networks: Sequence[str]) -> None:
        self._networks = [ipaddress.ip_network(each) for each in networks]

    def __contains__(self, address: object) -> bool:
        parsed = _address(str(address))
        return parsed is not None and self._lists(parsed)

    def client(self, peer: str, headers: Headers) -> tuple[str, str | None]:
        """The client's address and its scheme, http or https, as the proxy at ``peer`` names them.

        Without a header that it may write, or with two that disagree, the client is ``peer``.
        """
        of_standard, scheme = self._farthest(peer, _hops_of_forwarded(headers))
        of_custom, _ = self._farthest(peer, _hops_of_x_forwarded(headers))
        if scheme is None:
            first = ",".join(headers.getlist("x-forwarded-proto")).partition(",")[0]
            # Traefik names the scheme of a WebSocket.
            scheme = first.strip().lower().replace("ws", "http")
        named = {each for each in (of_standard, of_custom) if each is not None}
        client = named.pop() if len(named) == 1 else peer
        return client, scheme if scheme in ("http", "https") else None

    def _farthest(
        self, peer: str, hops: Iterator[tuple[str, str | None]]
    ) -> tuple[str | None, str | None]:
        """The first hop that no listed proxy is, and its scheme; None where there is no hop.

        Each proxy adds the hop before it, so that ``hops`` come nearest first, and those after a
        hop that is not believed are anybody's. A hop without an address counts as the one after.
        """
        client: str | None = None
        scheme: str | None = None
        for text, given in hops:
            client, scheme, address = client or peer, given, _address(text)
            if address is None:
                break
            client = str(address)
            if not self._lists(address):
                break
        return client, scheme

    def _lists(self, address: _Address) -> bool:
        return any(address in network for network in self._networks)


class BehindProxies:
    """ASGI around a server: the client and the scheme of a request as they are seen outside.

    ``trusted`` None: nobody but this machine may ask, and a request through a proxy is refused.
    """

    def __init__(self, application: ASGIApp, trusted: TrustedProxies | None) -> None:
        self._application = application
        self._trusted = trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request or WebSocket."""
        headers = Headers(scope=scope)
        if self._trusted is None:
            if (name := next(filter(_OF_PROXIES.fullmatch, headers), None)) is not None:
                await _refusal(name).response(scope["path"])(scope, receive, send)
                return
        elif scope["client"] is not None and (peer := scope["client"][0]) in self._trusted:
            client, scheme = self._trusted.client(peer, headers)
            if scheme is not None and scope["type"] == "websocket":
                scheme = scheme.replace("http", "ws")
            scope = {**scope, "client": (client, 0), "scheme": scheme or scope["scheme"]}
        await self._application(scope, receive, send)


def _refusal(name: str) -> ProblemError:
    return ProblemError(
        403,
        f"the request came through a proxy (it has the header {name.title()}), and without tokens "
        "only this machine's own programs are answered: set api.tokens, such as [{name: me, "
        "scopes: [control, publish], token_env: MASKLET_TOKEN}], list the proxy in "
        "api.trusted_proxies, and let it pass to api.port",
        "proxy_needs_tokens",
    )


def _hops_of_x_forwarded(headers: Headers) -> Iterator[tuple[str, str | None]]:
    for text in _elements(headers, "x-forwarded-for"):
        yield text, None


def _hops_of_forwarded(headers: Headers) -> Iterator[tuple[str, str | None]]:
    """The ``for`` and ``proto`` of each element (RFC 7239, section 4)."""
    element = ""
    for part in _elements(headers, "forwarded"):
        element = f"{part},{element}" if element else part
        if _QUOTE_OR_ESCAPE.findall(element).count('"') % 2:
            continue  # the comma was inside of a quoted string
        pairs = reversed(_PAIR.findall(element))  # of two of a name, the first
        values = {name.lower(): value.strip().strip('"') for name, value in pairs}
        yield values.get("for", ""), values.get("proto", "").lower() or None
        element = ""


def _elements(headers: Headers, name: str) -> Iterator[str]:
    """The elements of a list header, the last and nearest first."""
    lines = headers.getlist(name)
    return reversed(",".join(lines).rsplit(",", _HOPS)[-_HOPS:] if lines else [])


def _address(text: str) -> _Address | None:
    """The address of a hop, which may have a port; None for ``unknown`` and other names."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        parsed = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(parsed, "ipv4_mapped", None) or parsed
