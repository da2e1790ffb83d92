"""The dialogue with one camera: its steps, its redirects, and what it may refuse."""

from __future__ import annotations

import logging
import re
import socket

from streamer.errors import SourceError, SourceFailure
from streamer.runtime.logs import stream_logger
from streamer.sources.rtsp.client import CameraSettings, RtspClient
from streamer.sources.rtsp.description import (
    MAX_TRACKS,
    SessionDescription,
    Track,
    parse_description,
)
from streamer.sources.rtsp.messages import (
    Connection,
    MalformedMessageError,
    Message,
    printable,
)
from streamer.sources.rtsp.redirects import Redirects, is_redirect
from streamer.sources.rtsp.unread_ports import unread_ports

# OPTIONS is sent because some servers expect it; one that never answers it must not cost the time
# to open.
_OPTIONS_WAIT_S = 2.0
_REFUSALS = {
    403: (SourceFailure.UNAUTHORISED, "check what this user may watch"),
    404: (SourceFailure.NOT_FOUND, "check the path in the URL"),
    461: (SourceFailure.REFUSED, "set transport: udp or tcp, whichever is not set now"),
}
_log = logging.getLogger(__name__)


class OpenAgainError(Exception):
    """The dialogue has to start again, with another track or at another address."""


class RtspCamera:
    """One camera, asked step by step in one thread; only ``abort`` may come from another.

    Every step raises ``SourceError``. Only DESCRIBE, SETUP of one video track and PLAY have to
    succeed: OPTIONS, other tracks and keep-alive requests may be refused.
    """

    def __init__(self, settings: CameraSettings) -> None:
        self._settings = settings
        self._log = stream_logger(_log, settings.stream_id)
        self._client = RtspClient(settings)
        self._redirects = Redirects(settings, self._client, self._log)
        self._refused: dict[str, SourceError] = {}  # tracks by name; at most 8
        self._sends_options = True
        self._only_video = settings.only_video
        self._unread: list[socket.socket] = []  # two for each of at most 8 tracks
        self._keep_alive_method = "OPTIONS"
        self.session_s: int | None = None  # after so long without a request the session may end
        self._description: SessionDescription | None = None
        self._track: Track | None = None

    @property
    def connection(self) -> Connection:
        """The connection, once ``describe`` made one."""
        return self._client.connection

    @property
    def peer(self) -> str:
        """The camera's IP address."""
        return self._client.peer

    # The steps.

    def describe(self, control: str) -> bytes:
        """Connect, and return a description of the video track to set up, named ``control``."""
        self._client.session, self._keep_alive_method = "", "OPTIONS"
        while True:
            self._client.connect()
            reply = self._options()
            if reply is None or not is_redirect(reply):
                accept = {"Accept": "application/sdp"}
                reply = self._client.ask("DESCRIBE", self._client.uri, accept)
            if not is_redirect(reply):
                return self._described(reply).only(self._chosen(), control)
            self._redirects.follow(reply)

    def set_up(self, transport: str, *, is_last_transport: bool) -> str | None:
        """Set the track up; the ``Transport`` header's value of the answer.

        None if the camera refuses this transport and another is to be tried. Raises
        ``OpenAgainError`` to continue with another track or at another address.
        """
        track = self._chosen()
        reply = self._client.ask("SETUP", track.uri, {"Transport": transport})
        if is_redirect(reply):
            self._redirects.follow(reply)
            raise OpenAgainError
        if reply.status == 461 and not is_last_transport:
            return None
        if not reply.is_success:
            self._give_up(track, reply)
        session, _, lifetime = (reply.value("session") or "").partition(";")
        self._client.session = session.strip()
        found = re.search(r"timeout\s*=\s*(\d{1,9})", lifetime, re.IGNORECASE)
        self.session_s = int(found[1]) if found else None
        agreed = (reply.value("transport") or transport).split(",")[0].strip()
        is_tcp = "TCP" in agreed.upper() or "interleaved=" in agreed.lower()
        if ("TCP" in transport) != is_tcp:
            raise self._settings.failure(
                SourceFailure.REFUSED,
                f"wants to send by {printable(agreed)}; set transport: udp or tcp accordingly",
            )
        self._set_up_others(transport)
        return agreed

    def play(self) -> None:
        """Start the media.

        A range is asked for, as FFmpeg does, but a live stream needs none; some servers play
        single tracks only (459).
        """
        description, track = self._description, self._chosen()
        assert description is not None
        first: Message | None = None
        for uri, headers in (
            (description.uri, {"Range": "npt=0.000-"}),
            (description.uri, {}),
            (track.uri, {}),
        ):
            reply = self._client.ask("PLAY", uri, headers)
            if reply.is_success:
                return
            first = first or reply
        assert first is not None
        raise self._refusal("PLAY", first)

    def keep_alive(self) -> None:
        """Send a request so that the session does not expire; no answer is awaited."""
        self._client.send(self._keep_alive_method, self._session_uri)

    def received(self, message: Message) -> None:
        """Handle what the camera sends while it plays: a request, or the answer to one of ours."""
        if message.status is None:
            self._client.answer(message)
        elif message.status == 401:
            self._client.log_in(message)  # for the next one
        elif not message.is_success:
            self._keep_alive_method = "OPTIONS"

    def tear_down(self) -> None:
        """End the session; no answer is awaited."""
        if self._client.session:
            self._client.send("TEARDOWN", self._session_uri)

    def close(self) -> None:
        """Close the connection. Closing twice is no error."""
        for each in self._unread:
            each.close()
        self._unread.clear()
        self._client.close()

    def abort(self) -> None:
        """End whatever the thread waits for, for good. Called by any thread."""
        self._client.abort()

    # The parts of the steps.

    @property
    def _session_uri(self) -> str:
        return self._description.uri if self._description else self._client.uri

    def _options(self) -> Message | None:
        """Ask for the methods. Whether and how it is answered does not matter."""
        if not self._sends_options:
            return None
        wait_s = min(_OPTIONS_WAIT_S, self._settings.timeout_s / 2)
        try:
            self.connection.socket.settimeout(wait_s)
            self._client.send("OPTIONS", self._client.uri)
            reply = self._client.reply()
        except OSError as error:
            self._log.debug("the camera does not answer OPTIONS: %s", error)
            self._sends_options = False
            self._client.connect()
            return None
        except MalformedMessageError as error:
            raise self._client.garbage(error) from None
        self.connection.socket.settimeout(self._settings.timeout_s)
        if "GET_PARAMETER" in (reply.value("public") or ""):
            self._keep_alive_method = "GET_PARAMETER"
        return reply

    def _described(self, reply: Message) -> SessionDescription:
        if not reply.is_success:
            raise self._refusal("DESCRIBE", reply)
        base = reply.value("content-base") or reply.value("content-location") or ""
        if "://" not in base:
            base = self._client.uri
        description = parse_description(reply.body, base)
        if not description.videos:
            offers = ", ".join(map(str, description.tracks[:MAX_TRACKS])) or "nothing"
            raise self._settings.failure(
                SourceFailure.NO_VIDEO,
                f"has no video stream; it offers {offers}; check the path in the URL",
            )
        self._description = description
        left = [track for track in description.videos if track.uri not in self._refused]
        if not left:
            raise next(iter(self._refused.values()))
        self._track = left[0]
        return description

    def _set_up_others(self, transport: str) -> None:
        """Set up sound and data as well; what arrives is discarded, and a refusal costs nothing.

        Servers of GStreamer with several clients fail when one of them leaves a track out.
        """
        assert self._description is not None
        for number, track in enumerate(self._description.others, start=1):
            if self._only_video or "multicast" in transport:
                return
            if "TCP" in transport:
                # FFmpeg skips channels that it does not know.
                wanted = f"RTP/AVP/TCP;unicast;interleaved={2 * number}-{2 * number + 1}"
            else:
                pair = unread_ports(self.connection.socket)
                if pair is None:
                    raise self._settings.failure(
                        SourceFailure.INTERNAL, "finds no two free UDP ports in a row"
                    )
                self._unread += pair
                port = pair[0].getsockname()[1]
                wanted = f"RTP/AVP/UDP;unicast;client_port={port}-{port + 1}"
            try:
                reply = self._client.ask("SETUP", track.uri, {"Transport": wanted})
            except SourceError as error:
                self._only_video = True
                self._log.info("opening again without the track %s: %s", track, error)
                raise OpenAgainError from None
            if not reply.is_success:
                self._log.info(
                    "the camera refused SETUP of the track %s with %s: it is left out",
                    track,
                    reply.reason,
                )

    def _chosen(self) -> Track:
        assert self._track is not None
        return self._track

    def _give_up(self, track: Track, reply: Message) -> None:
        """Raise ``OpenAgainError`` where there is another video track, else the refusal."""
        refusal = self._refusal(f"SETUP of the track {track}", reply)
        self._refused[track.uri] = refusal
        assert self._description is not None
        left = [each for each in self._description.videos if each.uri not in self._refused]
        if not left or len(self._refused) >= MAX_TRACKS:
            raise next(iter(self._refused.values()))
        self._log.warning(
            "the camera refused SETUP of the track %s with %s; trying %s",
            track,
            reply.reason,
            left[0],
        )
        raise OpenAgainError

    def _refusal(self, request: str, reply: Message) -> SourceError:
        status = reply.status or 0
        reason, advice = _REFUSALS.get(status, (SourceFailure.REFUSED, "check the URL"))
        if status >= 500:
            advice = "look at the camera's own log"
        return self._settings.failure(reason, f"refused {request} with {reply.reason}; {advice}")
