"""Makes the source that a stream's URL names."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, urlsplit

from streamer.config.paths import local_path
from streamer.config.streams import StreamConfig
from streamer.errors import ConfigError
from streamer.runtime.credentials import Credentials, credentials, secret, url_with_credentials
from streamer.runtime.redaction import redact_url
from streamer.sources.base import Source
from streamer.sources.file import FileSource
from streamer.sources.live import LiveSource
from streamer.sources.opening import ContainerSettings
from streamer.sources.rtsp import rtsp_settings
from streamer.sources.synthetic import SyntheticSource, scene_settings
from streamer.sources.whep import (
    WhepSettings,
    WhepSource,
    authorisation_field,
    check_options,
    tls_context,
)

_HOST_AND_PORT = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%]+\]|[^\[\]:]*)(:(?P<port>\d*))?")
# These may listen for a sender on an address of this machine: udp://:1234.
_LISTENING_SCHEMES = ("udp://", "rtp://", "srt://", "tcp://")
_DEVICE = re.compile(r"/dev/video\d+")


def make_source(stream_id: str, config: StreamConfig) -> Source:
    """A new source for one attempt at ``config.url``; nothing is opened yet.

    Credentials are read here, so that a changed password works at the next attempt. Raises
    ``ConfigError`` with the setting, the problem and what is allowed.
    """
    key = f"streams.{stream_id}"
    url = config.url.strip()
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower() if separator else ""
    if "\0" in url or any(character.isspace() and character != " " for character in url):
        raise ConfigError(f"{key}.url holds a control character; remove it")
    if scheme == "synthetic":
        return _synthetic(f"{key}.url", config, url)
    path = local_path(url)
    if path is not None:
        if _DEVICE.fullmatch(path):
            return LiveSource(_device_settings(stream_id, config, path))
        return _file(f"{key}.url", stream_id, config, path)
    _check_network_url(f"{key}.url", url, rest)
    if scheme in ("whep", "wheps"):
        return WhepSource(_whep_settings(key, stream_id, config, url))
    given = credentials(
        key,
        url,
        username_env=config.username_env,
        password_env=config.password_env,
        password_file=config.password_file,
    )
    if scheme in ("rtsp", "rtsps"):
        return LiveSource(
            rtsp_settings(
                stream_id,
                url,
                credentials=given,
                transport=config.transport,
                open_timeout_s=config.open_timeout_s,
                read_timeout_s=config.read_timeout_s,
                options=config.options,
                decoder=config.decoder,
            ),
            config.clock_tolerance_s,
        )
    return LiveSource(_network_settings(stream_id, config, url, given))


def _synthetic(key: str, config: StreamConfig, url: str) -> SyntheticSource:
    parts = urlsplit(url)
    parameters = dict(parse_qsl(parts.query, keep_blank_values=True))
    settings = scene_settings(key, parts.netloc + parts.path.rstrip("/"), parameters)
    return SyntheticSource(settings, url, paced=config.paced, loop=config.loop)


def _file(key: str, stream_id: str, config: StreamConfig, path: str) -> FileSource:
    if not path:
        raise ConfigError(f"{key} names no file; write file:///PATH or the path itself")
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


def _device_settings(stream_id: str, config: StreamConfig, path: str) -> ContainerSettings:
    """Settings for a webcam. FFmpeg options: ``video_size: 1280x720``, ``framerate: 30``."""
    return ContainerSettings(
        stream_id=stream_id,
        url=path,
        redacted_url=path,
        open_timeout_s=config.open_timeout_s,
        read_timeout_s=config.read_timeout_s,
        format="v4l2",
        options=dict(config.options),
        decoder=config.decoder,
    )


def _network_settings(
    stream_id: str, config: StreamConfig, url: str, given: Credentials | None
) -> ContainerSettings:
    """Settings for anything else that FFmpeg opens over a network."""
    return ContainerSettings(
        stream_id=stream_id,
        url=url_with_credentials(url, given),
        redacted_url=redact_url(url),
        open_timeout_s=config.open_timeout_s,
        read_timeout_s=config.read_timeout_s,
        options=dict(config.options),
        decoder=config.decoder,
    )


def _whep_settings(key: str, stream_id: str, config: StreamConfig, url: str) -> WhepSettings:
    """Settings for a media server; a password without a user is a bearer token."""
    scheme, _, rest = url.partition("://")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    has_user = config.username_env is not None or "@" in authority
    if has_user:
        given = credentials(
            key,
            url,
            username_env=config.username_env,
            password_env=config.password_env,
            password_file=config.password_file,
        )
        authorisation = authorisation_field(given.username, given.password) if given else None
    else:
        token = secret(key, password_env=config.password_env, password_file=config.password_file)
        authorisation = authorisation_field(None, token)
    is_secure = scheme.lower() == "wheps"
    check_options(key, config.options, is_secure=is_secure)
    host = authority.rpartition("@")[2]
    return WhepSettings(
        stream_id=stream_id,
        url=f"{'https' if is_secure else 'http'}://{host}{rest[len(authority) :]}",
        redacted_url=redact_url(url),
        open_timeout_s=config.open_timeout_s,
        read_timeout_s=config.read_timeout_s,
        clock_tolerance_s=config.clock_tolerance_s,
        authorisation=authorisation,
        tls=tls_context(key, config.options) if is_secure else None,
    )


def _check_network_url(key: str, url: str, rest: str) -> None:
    """Refuse URLs that FFmpeg would misread, above all a password not percent-encoded."""
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    path = rest[len(authority) :]
    host_and_port = authority.rpartition("@")[2]
    shown = redact_url(url)
    if " " in url:
        raise ConfigError(f"{key} holds a space; write it as %20: {shown}")
    if re.search(r":.*@", path) or (
        "@" in path and not re.fullmatch(r"[^:]*(:\d+)?", host_and_port)
    ):
        raise ConfigError(
            f"{key}: '/' in a user name or password must be written as %2F (and '@' as %40): "
            f"{shown}"
        )
    parts = _HOST_AND_PORT.fullmatch(host_and_port)
    if parts is None:
        raise ConfigError(f"{key} must have the form SCHEME://HOST:PORT/PATH, got {shown}")
    if not parts["host"] and not url.startswith(_LISTENING_SCHEMES):
        raise ConfigError(f"{key} names no host: {shown}")
    if parts["port"] and not 0 < int(parts["port"]) <= 65_535:
        raise ConfigError(
            f"{key} must have a port between 1 and 65535, got {parts['port']}: {shown}"
        )
