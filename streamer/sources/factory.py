"""Makes the source that a stream's URL names."""

from __future__ import annotations

from dataclasses import replace

from streamer.config.streams import StreamConfig
from streamer.runtime.credentials import Credentials, credentials, secret, url_with_credentials
from streamer.sources.base import MayReach, Source
from streamer.sources.file import FileSource
from streamer.sources.limited_http import OPTIONS as HTTP_OPTIONS
from streamer.sources.limited_http import LimitedHttp
from streamer.sources.live import LiveSource
from streamer.sources.opening import QUICK_OPTIONS, ContainerSettings
from streamer.sources.rtsp.source import rtsp_source
from streamer.sources.synthetic import SyntheticSource, scene_settings
from streamer.sources.tls import tls_context
from streamer.sources.whep import (
    WhepSettings,
    WhepSource,
    authorisation_field,
    check_options,
)


def make_source(stream_id: str, config: StreamConfig, may_reach: MayReach | None = None) -> Source:
    """A new source for one attempt at ``config.url``; nothing is opened yet.

    ``may_reach`` limits where its server may lead it, None for anywhere. Credentials are read here,
    so that a changed password works at the next attempt. Raises ``ConfigError`` with the setting,
    the problem and what is allowed.
    """
    key = f"streams.{stream_id}"
    address = config.url
    if address.scheme == "synthetic":
        return _synthetic(f"{key}.url", config)
    if address.scheme == "file":
        if address.is_device:
            return LiveSource(_device_settings(stream_id, config))
        return _file(stream_id, config)
    if address.scheme in ("whep", "wheps"):
        return WhepSource(_whep_settings(key, stream_id, config))
    given = _credentials(key, config)
    if address.scheme in ("rtsp", "rtsps"):
        return rtsp_source(key, stream_id, config, given, may_reach)
    settings = _network_settings(stream_id, config, given)
    if may_reach is not None and address.scheme in ("http", "https"):
        settings = _limited(key, settings, config, given, may_reach)
    return LiveSource(settings)


def _credentials(key: str, config: StreamConfig) -> Credentials | None:
    return credentials(
        key,
        config.url,
        username_env=config.username_env,
        password_env=config.password_env,
        password_file=config.password_file,
    )


def _synthetic(key: str, config: StreamConfig) -> SyntheticSource:
    address = config.url
    settings = scene_settings(key, address.path.rstrip("/"), address.parameters)
    return SyntheticSource(settings, str(address), paced=config.paced, loop=config.loop)


def _file(stream_id: str, config: StreamConfig) -> FileSource:
    path = config.url.path
    settings = ContainerSettings(
        stream_id=stream_id,
        # The prefix keeps a file name with a colon from being taken for a protocol.
        url=f"file:{path}",
        redacted_url=path,
        open_timeout_s=config.open_timeout_s,
        read_timeout_s=config.read_timeout_s,
        options=dict(config.options),
        decoder=config.decoder,
    )
    return FileSource(settings, paced=config.paced, loop=config.loop)


def _device_settings(stream_id: str, config: StreamConfig) -> ContainerSettings:
    """Settings for a webcam. FFmpeg options: ``video_size: 1280x720``, ``framerate: 30``."""
    return ContainerSettings(
        stream_id=stream_id,
        url=config.url.path,
        redacted_url=config.url.path,
        open_timeout_s=config.open_timeout_s,
        read_timeout_s=config.read_timeout_s,
        format="v4l2",
        options=dict(config.options),
        decoder=config.decoder,
    )


def _network_settings(
    stream_id: str, config: StreamConfig, given: Credentials | None
) -> ContainerSettings:
    """Settings for anything else that FFmpeg opens over a network."""
    return ContainerSettings(
        stream_id=stream_id,
        url=url_with_credentials(config.url, given),
        redacted_url=str(config.url),
        open_timeout_s=config.open_timeout_s,
        read_timeout_s=config.read_timeout_s,
        format="flv" if config.url.scheme.startswith("rtmp") else None,
        # A receiver of datagrams that falls behind loses some; FFmpeg would end the stream.
        options={"overrun_nonfatal": "1", **config.options},
        quick_options=QUICK_OPTIONS,
        decoder=config.decoder,
    )


def _limited(
    key: str,
    settings: ContainerSettings,
    config: StreamConfig,
    given: Credentials | None,
    may_reach: MayReach,
) -> ContainerSettings:
    """``settings`` of a stream whose server may not lead it anywhere."""
    limited = LimitedHttp(
        config.url,
        given,
        may_reach=may_reach,
        tls=tls_context(key, config.options),
        timeout_s=config.read_timeout_s,
        failure=settings.failure,
    )
    return replace(
        settings,
        url=replace(config.url, username=None, password=None).url,
        options={**settings.options, **HTTP_OPTIONS},
        io_open=limited.open,
        has_length=lambda: limited.has_length,
    )


def _whep_settings(key: str, stream_id: str, config: StreamConfig) -> WhepSettings:
    """Settings for a media server; a password without a user is a bearer token."""
    address = config.url
    if config.username_env is not None or address.username is not None:
        given = _credentials(key, config)
        authorisation = authorisation_field(given.username, given.password) if given else None
    else:
        token = secret(key, password_env=config.password_env, password_file=config.password_file)
        authorisation = authorisation_field(None, token)
    is_secure = address.scheme == "wheps"
    check_options(key, config.options, is_secure=is_secure)
    return WhepSettings(
        stream_id=stream_id,
        address=replace(
            address, scheme="https" if is_secure else "http", username=None, password=None
        ),
        redacted_url=str(address),
        open_timeout_s=config.open_timeout_s,
        read_timeout_s=config.read_timeout_s,
        clock_tolerance_s=config.clock_tolerance_s,
        authorisation=authorisation,
        tls=tls_context(key, {**config.options, "tls_verify": "1"}) if is_secure else None,
    )
