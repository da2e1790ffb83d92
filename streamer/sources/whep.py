"""A stream fetched from a media server over WebRTC (WHEP): ``whep://HOST/PATH``, ``wheps://``."""

from __future__ import annotations

import asyncio
import base64
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

from streamer.errors import ConfigError, SourceError, SourceFailure
from streamer.runtime.address import Address
from streamer.sources.base import SourceOutput
from streamer.sources.encoded_pictures import EncodedPictureReader
from streamer.webrtc.encoded_feed import EncodedFeed
from streamer.webrtc.ice_settings import IceSettings
from streamer.webrtc.media_watch import MediaWatch
from streamer.webrtc.peer import Peer, PeerError
from streamer.webrtc.peer_loop import PeerLoop
from streamer.webrtc.rtp_clock import RtpCaptureClock
from streamer.webrtc.session_description import SdpError
from streamer.webrtc.whep_signalling import WhepSignalling

NETWORK_THREAD_PREFIX = "whep-"


@dataclass(frozen=True, slots=True)
class WhepSettings:
    """Settings of one attempt. ``address`` is http or https, without credentials."""

    stream_id: str
    address: Address
    redacted_url: str
    open_timeout_s: float
    read_timeout_s: float
    clock_tolerance_s: float
    authorisation: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = None


class WhepSource:
    """Receives one session: the source's thread decodes, a second thread does the networking.

    Silence of ``read_timeout_s`` ends it, as with RTSP.
    """

    lossless = False
    deadline = None

    def __init__(self, settings: WhepSettings) -> None:
        self._settings = settings
        self.redacted_url = settings.redacted_url

    def run(self, output: SourceOutput, stop: threading.Event) -> None:
        """Deliver until ``stop``; raises ``SourceError`` when there is no (more) video."""
        settings = self._settings
        name = f"{settings.stream_id}: {settings.redacted_url}"
        signalling = WhepSignalling(
            settings.address,
            name=name,
            authorisation=settings.authorisation,
            tls=settings.tls,
            timeout_s=settings.open_timeout_s,
        )
        with PeerLoop(f"{NETWORK_THREAD_PREFIX}{settings.stream_id}") as loop:
            session = loop.run(_make_session(settings))
            try:
                answer = signalling.post(loop.run(session.peer.offer()))
                loop.run(session.begin(answer))
                reader = EncodedPictureReader(
                    settings.stream_id,
                    session.feed,
                    settings.open_timeout_s,
                    settings.read_timeout_s,
                )
                reader.run(output, stop)
            except SdpError as error:
                raise SourceError(
                    SourceFailure.GARBAGE, f"{name} gave an answer that cannot be used: {error}"
                ) from error
            except PeerError as error:
                raise SourceError(
                    SourceFailure.INTERNAL, f"{name} cannot be connected from here: {error}"
                ) from error
            finally:
                signalling.delete()
                loop.run(session.close())


def authorisation_field(username: str | None, password: str | None) -> str | None:
    """The ``Authorization`` header's value: a password alone is a bearer token."""
    if password is None:
        return None
    if username is None:
        return f"Bearer {password}"
    credentials = base64.b64encode(f"{username}:{password}".encode()).decode()
    return f"Basic {credentials}"


def check_options(key: str, options: Mapping[str, str], *, is_secure: bool) -> None:
    """Raise ``ConfigError`` for FFmpeg options, which have no meaning for WHEP."""
    for option in options:
        if option != "ca_file" or not is_secure:
            raise ConfigError(
                f"{key}.options.{option} is unknown for WHEP; known, with wheps://, is ca_file"
            )


class _Session:
    """The peer of one attempt with its feed and watch, on the networking event loop."""

    def __init__(self, settings: WhepSettings) -> None:
        # No ICE servers: the media server's address is in the URL, and it sees ours.
        self.peer = Peer(IceSettings(), "video", "recvonly")
        self._watch = MediaWatch(
            self.peer,
            peer_name=f"{settings.redacted_url}",
            connect_timeout_s=settings.open_timeout_s,
            media_timeout_s=settings.read_timeout_s,
            timeout_setting="read_timeout_s",
        )
        self.feed = EncodedFeed(
            RtpCaptureClock(settings.clock_tolerance_s),
            asyncio.get_running_loop(),
            request_keyframe=self.peer.request_keyframe,
            stop=self._watch.end,
        )
        self._watching: asyncio.Task[None] | None = None

    async def begin(self, answer: bytes) -> None:
        await self.peer.accept(answer, self.feed)
        self._watching = asyncio.create_task(self._run())

    async def close(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait({self._watching})
        await self.peer.close()

    async def _run(self) -> None:
        end = await self._watch.until_connected() or await self._watch.until_silent()
        self.feed.close(end)


async def _make_session(settings: WhepSettings) -> _Session:
    return _Session(settings)
