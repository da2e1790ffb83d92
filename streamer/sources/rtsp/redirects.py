"""Redirects of a camera: where they may lead, and where credentials go along."""

from __future__ import annotations

import logging

from streamer.errors import SourceError, SourceFailure
from streamer.runtime.address import Address, AddressError
from streamer.sources.rtsp.client import CameraSettings, RtspClient, shown
from streamer.sources.rtsp.messages import Message, printable

_MAX_REDIRECTS = 5


class Redirects:
    """Those of one attempt to open a camera."""

    def __init__(
        self,
        settings: CameraSettings,
        client: RtspClient,
        log: logging.LoggerAdapter[logging.Logger],
    ) -> None:
        self._settings = settings
        self._client = client
        self._log = log
        self._count = 0

    def follow(self, reply: Message) -> None:
        """Move to the address that a redirect names, if that is allowed.

        Credentials are kept only for the configured host, over a connection that is no less
        protected; once dropped, they are not used again.
        """
        self._count += 1
        if self._count > _MAX_REDIRECTS:
            raise self._refused_redirect(f"more than {_MAX_REDIRECTS} times; check its settings")
        location = reply.value("location") or ""
        try:
            target = self._client.address.joined(location)
        except AddressError:
            target = None
        if not location or target is None or target.scheme not in ("rtsp", "rtsps"):
            raise self._refused_redirect(f"to {printable(location) or 'nowhere'}, which is no RTSP")
        is_host = self._is_host(target)
        may_reach = self._settings.may_reach
        if not is_host and may_reach is not None and not may_reach(target):
            raise self._refused_redirect(
                f"to {shown(target)}, which is not among api.url_hosts; list it there"
            )
        is_weaker = self._client.address.scheme == "rtsps" and target.scheme == "rtsp"
        self._log.info("redirected to %s", shown(target))
        self._client.move(target, with_credentials=is_host and not is_weaker)

    def _is_host(self, target: Address) -> bool:
        """Whether ``target`` is the configured host, by name or by the address it has now."""
        configured = self._settings.address.host
        is_here = self._client.address.host == configured
        return target.host == configured or (is_here and target.host == self._client.peer)

    def _refused_redirect(self, text: str) -> SourceError:
        return self._settings.failure(SourceFailure.REFUSED, f"redirects {text}")


def is_redirect(reply: Message) -> bool:
    """Whether an answer leads elsewhere."""
    return reply.status is not None and 300 <= reply.status < 400
