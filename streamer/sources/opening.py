"""Opens a container with video, within a time limit."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, cast

import av
import av.container

from streamer.errors import SourceError, SourceFailure
from streamer.sources.failures import source_error

Decoder = Literal["auto", "software", "cuda"]


@dataclass(frozen=True, slots=True)
class ContainerSettings:
    """What to open, and the timeouts of opening and of each read.

    ``quick_options`` apply to the first attempt only; a second one follows if that found no
    video. ``open_timeout_s`` also bounds the wait for the first decoded picture. ``decoder``: where
    pictures are decoded, see ``packet_decoder``.
    """

    stream_id: str
    url: str = field(repr=False)
    redacted_url: str
    open_timeout_s: float
    read_timeout_s: float
    format: str | None = None
    options: Mapping[str, str] = field(default_factory=dict, repr=False)
    quick_options: Mapping[str, str] = field(default_factory=dict)
    decoder: Decoder = "software"

    def failure(self, reason: SourceFailure, explanation: str) -> SourceError:
        """An error of this source, with its stream and redacted URL."""
        return SourceError(reason, f"{self.stream_id}: {self.redacted_url} {explanation}")


def open_video(
    settings: ContainerSettings,
) -> tuple[av.container.InputContainer, av.VideoStream]:
    """An open container and its video stream; the caller closes it, in this thread.

    Raises ``SourceError`` after ``open_timeout_s`` at the latest, except that FFmpeg cannot
    interrupt the resolution of a host name.
    """
    deadline = _Deadline(settings.open_timeout_s)
    for options in _attempts(settings):
        container, error = _open(settings, options, deadline)
        if container is None:
            raise _refusal(settings, error, deadline)
        # The default video stream; never cover art.
        stream = container.streams.best("video")
        if isinstance(stream, av.VideoStream) and _has_decoder(stream):
            return container, stream
        container.close()
        if stream is not None:
            raise settings.failure(
                SourceFailure.CODEC,
                "uses a codec that this FFmpeg build cannot decode; set the camera to H.264",
            )
    raise settings.failure(SourceFailure.NO_VIDEO, "has no video stream; check the path in the URL")


class _Deadline:
    """The time left until a deadline, as a number that shrinks.

    PyAV starts its timer twice, for opening and for finding the streams, and reads the number
    each time: both together end by the deadline, unlike with two equal timeouts.
    """

    def __init__(self, timeout_s: float) -> None:
        self._end_s = time.monotonic() + timeout_s

    def __float__(self) -> float:
        return max(0.001, self._end_s - time.monotonic())

    @property
    def has_passed(self) -> bool:
        """Whether the deadline caused an error, whatever FFmpeg calls it."""
        return time.monotonic() >= self._end_s - 0.01


def _attempts(settings: ContainerSettings) -> list[dict[str, str]]:
    attempts = [dict(settings.options)]
    if settings.quick_options:
        attempts.insert(0, {**settings.quick_options, **settings.options})
    return attempts


def _open(
    settings: ContainerSettings, options: dict[str, str], deadline: _Deadline
) -> tuple[av.container.InputContainer | None, av.FFmpegError | None]:
    """The container or the error.

    Returned, not raised: an exception raised while this one is handled would refer to it, and
    its text holds the password.
    """
    try:
        container = av.open(
            settings.url,
            mode="r",
            format=settings.format,
            options=options,
            metadata_errors="replace",
            timeout=(cast(float, deadline), settings.read_timeout_s),
        )
    except av.FFmpegError as error:
        return None, error
    return container, None


def _refusal(
    settings: ContainerSettings, error: av.FFmpegError | None, deadline: _Deadline
) -> SourceError:
    if error is None or deadline.has_passed:
        return settings.failure(
            SourceFailure.TIMEOUT,
            f"did not answer within {settings.open_timeout_s:.1f} s (open_timeout_s)",
        )
    return source_error(settings.stream_id, settings.redacted_url, error)


def _has_decoder(stream: av.VideoStream) -> bool:
    return stream.codec_context is not None
