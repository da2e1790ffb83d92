"""The answer to a WHIP or WHEP request, independent of any web framework."""

from __future__ import annotations

from dataclasses import dataclass

SDP = "application/sdp"
SDP_FRAGMENT = "application/trickle-ice-sdpfrag"  # RFC 8840


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A status with its header fields and body.

    A refusal has a ``detail`` for people, may have a ``kind`` for programs, and has an empty
    ``body``: the HTTP layer builds the problem document from them (RFC 9457). Header fields may
    repeat (``Link``).
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    detail: str | None = None
    kind: str | None = None


def refusal(
    status: int,
    detail: str,
    kind: str | None = None,
    *,
    headers: tuple[tuple[str, str], ...] = (),
) -> HttpAnswer:
    """A 4xx or 5xx error; ``detail`` names the thing, the value and the next step."""
    return HttpAnswer(status, headers, detail=detail, kind=kind)


def later(detail: str, retry_after_s: int) -> HttpAnswer:
    """503: busy now, with the time after which to retry."""
    return refusal(503, detail, "busy", headers=(("Retry-After", str(retry_after_s)),))


def not_allowed(allowed: str) -> HttpAnswer:
    """405 with the allowed methods."""
    return refusal(
        405, f"this resource knows only the methods {allowed}", headers=(("Allow", allowed),)
    )


def media_type(content_type: str | None) -> str:
    """The type of a ``Content-Type`` field without its parameters, in lower case."""
    return (content_type or "").partition(";")[0].strip().lower()
