"""The WHIP server (RFC 9725): its answers to POST, PATCH and DELETE. Knows no web framework.

The HTTP layer has checked the bearer token before.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from streamer.api.server.principals import Principal
from streamer.api.webrtc.publishers import (
    TAKEOVER_AFTER_S,
    Publishers,
    StreamGoneError,
    StreamTakenError,
)
from streamer.config.stream_id import STREAM_ID, STREAM_ID_RULE
from streamer.config.streams import StreamConfig
from streamer.errors import BusyError, ConfigError, ControlError, SourceFailure, StreamExistsError
from streamer.sources.whip import WHIP_URL, is_published
from streamer.webrtc.encoded_feed import FeedEnd
from streamer.webrtc.http_answer import SDP, HttpAnswer, later, media_type, not_allowed, refusal
from streamer.webrtc.offer import Offer, read_published_offer
from streamer.webrtc.peer import PeerError
from streamer.webrtc.peer_session import ACCEPT_PATCH, SESSION_METHODS
from streamer.webrtc.session_description import MAXIMUM_BYTES, SdpError

_ACCEPT_POST = ("Accept-Post", SDP)
_ENDPOINT_METHODS = "POST, OPTIONS"
_RETRY_AFTER_S = 5


class Whip:
    """The protocol, over ``publishers``.

    ``stream_config`` gives the configuration of a stream, None for an unknown one, and
    ``begin_stream`` begins one for a publisher; None where that is not allowed. Every method
    answers; none raises for what a client sent.
    """

    def __init__(
        self,
        publishers: Publishers,
        *,
        stream_config: Callable[[str], StreamConfig | None],
        begin_stream: Callable[[str, str], Awaitable[None]] | None,
    ) -> None:
        self._publishers = publishers
        self._stream_config = stream_config
        self._begin_stream = begin_stream

    async def post(
        self, stream_id: str, body: bytes, content_type: str | None, publisher: Principal
    ) -> HttpAnswer:
        """Publish to a stream: 201 with answer, ``Location`` and ``ETag``, or a refusal.

        400 no SDP, 404 no such stream, 409 published by another, or not a `whip://` stream,
        413 too long, 415 not SDP by its type, 422 SDP that cannot be taken, 503 no room.
        """
        if media_type(content_type) != SDP:
            return refusal(415, f"the body of a POST must be {SDP}", headers=(_ACCEPT_POST,))
        if len(body) > MAXIMUM_BYTES:
            return refusal(413, f"an offer must not be longer than {MAXIMUM_BYTES} bytes")
        try:
            offer = read_published_offer(body)
        except SdpError as error:
            return refusal(error.status, str(error))
        return await self._stream_refusal(stream_id, publisher) or await self._publish(
            stream_id, offer, publisher
        )

    def stream_of(self, session_id: str) -> str | None:
        """The stream that a session publishes to; None for an unknown session."""
        session = self._publishers.session(session_id)
        return None if session is None else session.stream_id

    async def patch(
        self, session_id: str, body: bytes, content_type: str | None, if_match: str | None
    ) -> HttpAnswer:
        """Further candidates (204) or an ICE restart (200), or a refusal.

        400 no fragment, 404 no such session, 412 and 428 for the entity tag, 413 too long, 415
        not a fragment by its type, 422 a fragment that cannot be taken, 503 not connected yet.
        """
        session = self._publishers.session(session_id)
        if session is None:
            return _unknown_session()
        return await session.patch(body, content_type, if_match)

    async def delete(self, session_id: str) -> HttpAnswer:
        """End a session: 200, or 404 when there is none (any more)."""
        session = self._publishers.session(session_id)
        if session is None:
            return _unknown_session()
        await session.end(FeedEnd(SourceFailure.ENDED, "the publisher ended its session"))
        return HttpAnswer(200)

    def endpoint_options(self, *, may_publish: bool) -> HttpAnswer:
        """The answer to ``OPTIONS`` of the endpoint: the type to post.

        Whoever may publish there gets the ICE servers too, with their credentials.
        """
        links = self._publishers.ice_settings.links if may_publish else ()
        return HttpAnswer(204, (("Allow", _ENDPOINT_METHODS), _ACCEPT_POST, *links))

    def session_options(self) -> HttpAnswer:
        """The answer to ``OPTIONS`` of a session."""
        return HttpAnswer(204, (("Allow", SESSION_METHODS), ACCEPT_PATCH))

    def endpoint_not_allowed(self) -> HttpAnswer:
        """405 for any other method of the endpoint."""
        return not_allowed(_ENDPOINT_METHODS)

    def session_not_allowed(self) -> HttpAnswer:
        """405 for any other method of a session."""
        return not_allowed(SESSION_METHODS)

    async def _stream_refusal(self, stream_id: str, publisher: Principal) -> HttpAnswer | None:
        """The refusal to publish to this stream, if any; begins the stream if that is allowed."""
        known = self._stream_config(stream_id)
        if known is not None:
            if is_published(known):
                return None
            return refusal(
                409,
                f"stream {stream_id} has a source of its own; publish under another id",
                "not_published",
            )
        if not STREAM_ID.fullmatch(stream_id):
            return refusal(404, f"there is no such stream; a stream id is {STREAM_ID_RULE}")
        if self._begin_stream is None:
            return refusal(
                404,
                f"there is no stream {stream_id}; add it with the url {WHIP_URL}, or allow "
                "webrtc.create_streams",
            )
        try:
            self._publishers.check_room(publisher)  # so that no stream is begun in vain
            await self._begin_stream(stream_id, publisher.name)
        except StreamExistsError:
            return None  # two publishers of a new stream at once; one of them gets it
        except (ControlError, ConfigError) as error:
            return later(str(error), _RETRY_AFTER_S)
        return None

    async def _publish(self, stream_id: str, offer: Offer, publisher: Principal) -> HttpAnswer:
        config = self._stream_config(stream_id)
        if config is None:
            return _removed(stream_id)
        try:
            session, answer = await self._publishers.publish(
                stream_id, offer, config.clock_tolerance_s, publisher
            )
        except StreamTakenError as error:
            return refusal(
                409,
                f"stream {stream_id} has another publisher, which sent media "
                f"{error.silent_for_s:.1f} s ago; end that session first, or publish under another "
                f"id. If it crashed, the stream is free after {TAKEOVER_AFTER_S:g} s of silence",
                "stream_taken",
                headers=(("Retry-After", str(error.retry_after_s)),),
            )
        except BusyError as error:
            return later(str(error), _RETRY_AFTER_S)
        except StreamGoneError:
            return _removed(stream_id)
        except PeerError as error:
            return later(f"no connection can be offered: {error}", _RETRY_AFTER_S)
        except SdpError as error:
            return refusal(error.status, str(error))
        location = f"../../whip/{session.session_id}"
        return session.created(answer, location, self._publishers.ice_settings.links)


def _removed(stream_id: str) -> HttpAnswer:
    return refusal(404, f"stream {stream_id} was just removed")


def _unknown_session() -> HttpAnswer:
    return refusal(404, "no such session, or it has ended; publish again with POST")
