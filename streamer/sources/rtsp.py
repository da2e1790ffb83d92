"""RTSP and RTSPS (RFC 2326): how FFmpeg is asked to open a camera."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from streamer.runtime.credentials import Credentials, url_with_credentials
from streamer.runtime.redaction import redact_url
from streamer.sources.opening import ContainerSettings, Decoder

# The codec is known from the session description: no need to read a second of video to find out,
# which would also be the stream's first backlog. Opening takes 0.06 s instead of 0.9 s.
_QUICK_OPTIONS = {"probesize": "32", "analyzeduration": "0"}


def rtsp_settings(
    stream_id: str,
    url: str,
    *,
    credentials: Credentials | None,
    transport: Literal["tcp", "udp"],
    open_timeout_s: float,
    read_timeout_s: float,
    options: Mapping[str, str],
    decoder: Decoder = "software",
) -> ContainerSettings:
    """What to open; ``options`` of the user come last and win.

    Audio is received and ignored: ``allowed_media_types: video`` would keep it from being sent,
    but makes a camera without video fail in odd ways. TLS certificates are not verified unless
    ``options`` say so (``tls_verify: "1"``, ``ca_file: …``): cameras sign their own.
    """
    return ContainerSettings(
        stream_id=stream_id,
        url=url_with_credentials(url, credentials),
        redacted_url=redact_url(url),
        open_timeout_s=open_timeout_s,
        read_timeout_s=read_timeout_s,
        options={"rtsp_transport": transport, **options},
        quick_options=_QUICK_OPTIONS,
        decoder=decoder,
    )
