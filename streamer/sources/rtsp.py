"""RTSP and RTSPS (RFC 2326): FFmpeg's settings for a camera."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from streamer.runtime.address import Address
from streamer.runtime.credentials import Credentials, url_with_credentials
from streamer.sources.opening import QUICK_OPTIONS, ContainerSettings, Decoder


def rtsp_settings(
    stream_id: str,
    address: Address,
    *,
    credentials: Credentials | None,
    transport: Literal["tcp", "udp"],
    open_timeout_s: float,
    read_timeout_s: float,
    options: Mapping[str, str],
    decoder: Decoder = "software",
) -> ContainerSettings:
    """The settings; the user's ``options`` take precedence.

    Audio is received and ignored: ``allowed_media_types: video`` would keep it from being sent,
    but gives misleading errors for a camera without video. TLS certificates are verified only if
    ``options`` ask for it (``tls_verify: "1"``, ``ca_file: …``): cameras sign their own.
    """
    return ContainerSettings(
        stream_id=stream_id,
        url=url_with_credentials(address, credentials),
        redacted_url=str(address),
        open_timeout_s=open_timeout_s,
        read_timeout_s=read_timeout_s,
        options={"rtsp_transport": transport, **options},
        quick_options=QUICK_OPTIONS,
        decoder=decoder,
    )
