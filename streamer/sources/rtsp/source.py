"""The source of an RTSP or RTSPS camera, read by FFmpeg through the relay."""

from __future__ import annotations

import socket
import threading
from dataclasses import replace

from streamer.config.streams import StreamConfig
from streamer.errors import SourceError
from streamer.runtime.credentials import Credentials, url_with_credentials
from streamer.sources.base import MayReach, SourceOutput
from streamer.sources.live import LiveSource
from streamer.sources.opening import QUICK_OPTIONS, ContainerSettings
from streamer.sources.read_deadline import ReadDeadline
from streamer.sources.rtsp.camera import RtspCamera
from streamer.sources.rtsp.client import CameraSettings
from streamer.sources.rtsp.relay import RtspRelay
from streamer.sources.tls import OPTIONS as TLS_OPTIONS
from streamer.sources.tls import tls_context


class RtspSource:
    """Delivers what a camera sends, as ``LiveSource`` does."""

    lossless = False

    def __init__(
        self, settings: ContainerSettings, camera: CameraSettings, clock_tolerance_s: float
    ) -> None:
        """``settings`` lack the URL, which is the relay's."""
        self.redacted_url = settings.redacted_url
        self._settings = settings
        self._camera = camera
        self._clock_tolerance_s = clock_tolerance_s
        self._live: LiveSource | None = None

    @property
    def deadline(self) -> ReadDeadline | None:
        """When the next picture must come; None before the first attempt to open."""
        return None if self._live is None else self._live.deadline

    def run(self, output: SourceOutput, stop: threading.Event) -> None:
        """Deliver until ``stop``; raises ``SourceError`` when there is no (more) video."""
        transport = self._settings.options["rtsp_transport"]
        ipv6 = transport != "tcp" and _is_ipv6(self._camera.address.host)
        with RtspRelay(
            RtspCamera(self._camera), self._camera.stream_id, transport=transport, ipv6=ipv6
        ) as relay:
            while True:
                settings = replace(self._settings, url=relay.url)
                self._live = LiveSource(settings, self._clock_tolerance_s)
                try:
                    return self._live.run(output, stop)
                except SourceError as error:
                    failure = error
                if not relay.opens_again:
                    raise relay.failure or failure


def rtsp_source(
    key: str,
    stream_id: str,
    config: StreamConfig,
    given: Credentials | None,
    may_reach: MayReach | None,
) -> RtspSource | LiveSource:
    """The source of a stream; ``key`` is its key in the configuration.

    The user's options take precedence. TLS certificates are verified only if the options ask for
    it (``tls_verify: "1"``, ``ca_file: …``): cameras sign their own. What is tunnelled through
    HTTP is left to FFmpeg. Raises ``ConfigError`` for TLS files that cannot be used.
    """
    options = {"rtsp_transport": config.transport, **config.options}
    if config.url.scheme == "rtsps":
        options["rtsp_transport"] = "tcp"  # media over UDP would not be encrypted
    tls = {name: options.pop(name) for name in TLS_OPTIONS if name in options}
    settings = ContainerSettings(
        stream_id=stream_id,
        url="",
        redacted_url=str(config.url),
        open_timeout_s=config.open_timeout_s,
        read_timeout_s=config.read_timeout_s,
        options=options,
        quick_options=QUICK_OPTIONS,
        decoder=config.decoder,
    )
    if options["rtsp_transport"] in ("http", "https"):
        url = url_with_credentials(config.url, given)
        return LiveSource(
            replace(settings, url=url, options={**options, **tls}), config.clock_tolerance_s
        )
    camera = CameraSettings(
        stream_id=stream_id,
        address=replace(config.url, username=None, password=None),
        shown=str(config.url),
        timeout_s=config.open_timeout_s,
        user_agent=options.pop("user_agent", "masklet"),
        tls=tls_context(key, tls),
        credentials=given,
        may_reach=may_reach,
        only_video=options.get("allowed_media_types") == "video",
    )
    return RtspSource(settings, camera, config.clock_tolerance_s)


def _is_ipv6(host: str) -> bool:
    """Whether a host's first address is one of IPv6; false for a name that does not resolve."""
    try:
        addresses = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    return addresses[0][0] == socket.AF_INET6
