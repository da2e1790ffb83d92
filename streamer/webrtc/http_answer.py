"""What a WHIP or WHEP request is answered with; knows no web framework."""

from __future__ import annotations

from dataclasses import dataclass

SDP = "application/sdp"
SDP_FRAGMENT = "application/trickle-ice-sdpfrag"  # RFC 8840


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A status with its header fields and body.

    A refusal has a ``detail`` for people and may have a ``kind`` for programs, from which the
    HTTP layer makes the problem document (RFC 9457); its ``body`` is empty. Header fields may
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
    """An error of the 4xx or 5xx kind; ``detail`` names thing, value and next step."""
    return HttpAnswer(status, headers, detail=detail, kind=kind)


def later(detail: str, retry_after_s: int) -> HttpAnswer:
    """503: no room now, and when to ask again."""
    return refusal(503, detail, "busy", headers=(("Retry-After", str(retry_after_s)),))


def not_allowed(allowed: str) -> HttpAnswer:
    """405 with the methods that there are."""
    return refusal(
        405, f"this resource knows only the methods {allowed}", headers=(("Allow", allowed),)
    )


def media_type(content_type: str | None) -> str:
    """The type of a ``Content-Type`` field without its parameters, in lower case."""
    return (content_type or "").partition(";")[0].strip().lower()
