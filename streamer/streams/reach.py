"""Where the server of a stream may lead it: redirects, and what a playlist names."""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection

from streamer.config.schema import MaskletConfig
from streamer.config.streams import StreamConfig
from streamer.config.url_rules import ConnectionRules, NotAllowedError
from streamer.errors import UnknownStreamError
from streamer.runtime.address import Address
from streamer.sources import Source, make_source
from streamer.streams.stream import MakeSource


def within_rules(config: MaskletConfig, owner_set: Callable[[str], Collection[str]]) -> MakeSource:
    """Makes sources; those of the API's streams within ``api.url_schemes`` and ``api.url_hosts``.

    ``owner_set`` is that of ``Streams``: an address from the configuration file, or that the
    daemon's user set, is trusted, and so is its server.
    """
    rules = ConnectionRules(config.api.url_schemes, config.api.url_hosts)

    def may_reach(address: Address) -> bool:
        """Whether the rules allow it now. Asks DNS; called in the source's thread."""
        try:
            name = rules.check_address(address)
            if name is not None:
                found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
                rules.check_resolved(name, [str(each[4][0]) for each in found])
        except (NotAllowedError, OSError, UnicodeError):
            return False
        return True

    def is_trusted(stream_id: str, stream: StreamConfig) -> bool:
        configured = config.streams.get(stream_id)
        if configured is not None and configured.url == stream.url:
            return True
        try:
            return "url" in owner_set(stream_id)
        except UnknownStreamError:  # it is about to be added; a source is made again to open it
            return False

    def make(stream_id: str, stream: StreamConfig) -> Source:
        return make_source(stream_id, stream, None if is_trusted(stream_id, stream) else may_reach)

    return make
