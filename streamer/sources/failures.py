"""Translates FFmpeg's errors to a typed reason and a message for the operator.

An FFmpeg error's own text holds the URL with its password. Only its type is used here, and messages
contain the redacted URL.
"""

from __future__ import annotations

import errno
import socket

import av.error

from streamer.errors import SourceError, SourceFailure
from streamer.runtime.address import Address

# First match wins: subclasses precede their bases.
_REASONS: tuple[tuple[type[BaseException], SourceFailure, str], ...] = (
    (
        av.error.ConnectionRefusedError,
        SourceFailure.REFUSED,
        "refused the connection; is the port right and the server running?",
    ),
    (
        av.error.HTTPUnauthorizedError,
        SourceFailure.UNAUTHORISED,
        "refused the credentials (401); set username_env and password_env or password_file",
    ),
    (
        av.error.HTTPForbiddenError,
        SourceFailure.UNAUTHORISED,
        "forbids access (403); check what this user may watch",
    ),
    (
        av.error.HTTPNotFoundError,
        SourceFailure.NOT_FOUND,
        "has no such path (404); check the path in the URL",
    ),
    (
        av.error.HTTPClientError,
        SourceFailure.REFUSED,
        "refused the request (4xx); check the URL",
    ),
    (
        av.error.HTTPServerError,
        SourceFailure.REFUSED,
        "failed with an error of its own (5xx); look at the server's log",
    ),
    (av.error.FileNotFoundError, SourceFailure.NOT_FOUND, "does not exist; check the path"),
    (
        av.error.PermissionError,
        SourceFailure.REFUSED,
        "may not be read by this user; check its permissions and groups",
    ),
    (
        av.error.IsADirectoryError,
        SourceFailure.NOT_FOUND,
        "is a directory; name a video file",
    ),
    (av.error.TimeoutError, SourceFailure.TIMEOUT, "did not answer in time"),
    (av.error.ExitError, SourceFailure.TIMEOUT, "did not answer in time"),
    (
        av.error.ProtocolNotFoundError,
        SourceFailure.CODEC,
        "uses a protocol that this FFmpeg build lacks; use a PyAV built with it",
    ),
    (
        av.error.DecoderNotFoundError,
        SourceFailure.CODEC,
        "uses a codec that this FFmpeg build cannot decode; set the camera to H.264",
    ),
    (
        av.error.DemuxerNotFoundError,
        SourceFailure.CODEC,
        "uses a format that this FFmpeg build lacks; use a PyAV built with it",
    ),
    (
        av.error.PatchWelcomeError,
        SourceFailure.CODEC,
        "uses a feature that FFmpeg does not support; set the camera to H.264",
    ),
    (
        av.error.InvalidDataError,
        SourceFailure.GARBAGE,
        "is not video that FFmpeg recognises; check URL, port and path",
    ),
)

_UNREACHABLE_ERRNOS = {
    errno.EHOSTUNREACH: "cannot be reached: no route to the host",
    errno.ENETUNREACH: "cannot be reached: no route to the network",
    errno.ECONNRESET: "reset the connection",
    errno.ECONNABORTED: "aborted the connection",
    errno.EPIPE: "closed the connection",
}


def source_error(stream_id: str, redacted_url: str, error: Exception) -> SourceError:
    """The meaning of a library's error for this stream, without the error's own text.

    A ``SourceError``, raised in a call back from the library, is returned unchanged.
    """
    if isinstance(error, SourceError):
        return error
    reason, explanation = _meaning(redacted_url, error)
    return SourceError(reason, f"{stream_id}: {redacted_url} {explanation}")


def _meaning(redacted_url: str, error: Exception) -> tuple[SourceFailure, str]:
    is_remote = "://" in redacted_url
    if isinstance(error, av.error.PermissionError) and is_remote:
        return SourceFailure.REFUSED, "refused to send this; check the path and the credentials"
    for kind, reason, explanation in _REASONS:
        if isinstance(error, kind):
            return reason, explanation
    if isinstance(error, av.error.EOFError) and is_remote:
        return (
            SourceFailure.UNREACHABLE,
            "closed the connection without an answer; check URL, port and path",
        )
    if isinstance(error, av.error.EOFError):
        return SourceFailure.GARBAGE, "ends before any picture; is it still being written?"
    number = error.errno if isinstance(error, av.FFmpegError) else None
    if number in _UNREACHABLE_ERRNOS:
        return SourceFailure.UNREACHABLE, _UNREACHABLE_ERRNOS[number]
    if number == errno.EIO:
        return SourceFailure.UNREACHABLE, _input_output_error(redacted_url)
    if number == errno.EBUSY:
        return SourceFailure.REFUSED, "is in use; close the other program that reads it"
    if number in (errno.ENODEV, errno.ENXIO):
        return SourceFailure.NOT_FOUND, "is not there; is it plugged in?"
    text = f" ({error.strerror})" if isinstance(error, av.FFmpegError) else ""
    return (
        SourceFailure.GARBAGE,
        f"cannot be read: {type(error).__name__}{text}; check the address, what is sent there, "
        "and options",
    )


def _input_output_error(redacted_url: str) -> str:
    """FFmpeg reports an unresolved name as an input/output error, like many other failures."""
    host = Address.parse(redacted_url).host
    if not host:
        return "cannot be read: input/output error"
    try:
        socket.getaddrinfo(host, None)
    except (OSError, UnicodeError):  # no such name, or none that a name may be
        return f"cannot be reached: the host name {host} does not resolve"
    page = " (a web page?)" if redacted_url.startswith("http") else ""
    return f"broke off without video{page}; check port, path and protocol, and the server's log"
