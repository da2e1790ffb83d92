"""A WHIP or WHEP session: one peer behind one URL, steered by PATCH (RFC 9725, section 4.3)."""

from __future__ import annotations

import secrets

from streamer.webrtc.http_answer import SDP, SDP_FRAGMENT, HttpAnswer, later, media_type, refusal
from streamer.webrtc.peer import Peer, PeerError
from streamer.webrtc.remote_video import MAXIMUM_CANDIDATES, RemoteVideo
from streamer.webrtc.sdp_fragment import SdpFragment, read_fragment, write_fragment
from streamer.webrtc.session_description import MAXIMUM_BYTES, SdpError

ACCEPT_PATCH = ("Accept-Patch", SDP_FRAGMENT)
SESSION_METHODS = "PATCH, DELETE, OPTIONS"
# Restarts cost the client little and this machine a search for a path each.
MAXIMUM_RESTARTS = 32


class PeerSession:
    """One peer and its names: an id that cannot be guessed, and its ICE session's entity tag."""

    def __init__(self, stream_id: str, peer: Peer, remote: RemoteVideo) -> None:
        self.session_id = secrets.token_urlsafe(24)
        self.stream_id = stream_id
        self.peer = peer
        self._mid = remote.mid
        self._remote_credentials = remote.credentials
        self._candidates = len(remote.candidates)
        self._restarts = 0
        self._entity_tag = _new_entity_tag()

    @property
    def entity_tag(self) -> str:
        """The strong entity tag of the current ICE session, in its quotes."""
        return self._entity_tag

    def created(self, answer: str, location: str, links: tuple[tuple[str, str], ...]) -> HttpAnswer:
        """201, with everything the peer needs.

        ``location`` is relative to the URL of the offer: a proxy may serve it under a prefix.
        """
        headers = (
            ("Content-Type", SDP),
            ("Location", location),
            ("ETag", self._entity_tag),
            ACCEPT_PATCH,
            *links,
        )
        return HttpAnswer(201, headers, answer.encode())

    async def patch(
        self, body: bytes, content_type: str | None, if_match: str | None
    ) -> HttpAnswer:
        """Further candidates (204), or an ICE restart (200 with a new entity tag)."""
        if media_type(content_type) != SDP_FRAGMENT:
            return refusal(
                415, f"the body of a PATCH must be {SDP_FRAGMENT}", headers=(ACCEPT_PATCH,)
            )
        if len(body) > MAXIMUM_BYTES:
            return refusal(413, f"a fragment must not be longer than {MAXIMUM_BYTES} bytes")
        if if_match is None:
            return refusal(428, "If-Match is missing: send the ETag of the session's last answer")
        if not self._matches(if_match):
            return refusal(
                412, "If-Match is not the current ICE session: send the ETag of the last answer"
            )
        try:
            fragment = read_fragment(body, self._mid)
        except SdpError as error:
            return refusal(error.status, str(error))
        if fragment.credentials not in (None, self._remote_credentials):
            return await self._restart(fragment)
        return self._trickle(fragment)

    def _trickle(self, fragment: SdpFragment) -> HttpAnswer:
        if self._candidates + fragment.candidate_lines > MAXIMUM_CANDIDATES:
            return refusal(422, f"a session takes at most {MAXIMUM_CANDIDATES} candidates")
        self._take_candidates(fragment)
        return HttpAnswer(204)

    async def _restart(self, fragment: SdpFragment) -> HttpAnswer:
        assert fragment.credentials is not None, "a restart comes with new credentials"
        if fragment.candidate_lines > MAXIMUM_CANDIDATES:
            return refusal(422, f"a session takes at most {MAXIMUM_CANDIDATES} candidates")
        if self._restarts >= MAXIMUM_RESTARTS:
            return refusal(
                422, f"this session was restarted {MAXIMUM_RESTARTS} times; begin a new one"
            )
        try:
            ours = await self.peer.restart_ice(fragment.credentials)
        except PeerError as error:
            return later(f"ICE cannot be restarted: {error}", 1)
        self._restarts += 1
        self._remote_credentials = fragment.credentials
        self._candidates = 0
        self._entity_tag = _new_entity_tag()
        self._take_candidates(fragment)
        return HttpAnswer(
            200,
            (("Content-Type", SDP_FRAGMENT), ("ETag", self._entity_tag)),
            write_fragment(self._mid, ours, self.peer.local_candidates),
        )

    def _take_candidates(self, fragment: SdpFragment) -> None:
        self._candidates += fragment.candidate_lines
        self.peer.add_candidates(fragment.candidates)

    def _matches(self, if_match: str) -> bool:
        """Strong comparison (RFC 9110, section 13.1.1); ``*`` stands for any."""
        tags = [tag.strip() for tag in if_match.split(",")]
        return "*" in tags or self._entity_tag in tags


def _new_entity_tag() -> str:
    return f'"{secrets.token_hex(8)}"'
