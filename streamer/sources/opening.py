"""Opens a container with video, within a time limit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import av
import av.container

from streamer.errors import SourceError, SourceFailure
from streamer.sources.failures import source_error
from streamer.sources.read_deadline import ReadDeadline

Decoder = Literal["auto", "software", "cuda"]
# FFmpeg would look at seconds of a live stream before it opens it, and they would be the first
# backlog. What the decoder needs, it finds in the stream. A transport stream whose programme gets
# new PIDs continues in the tracks that it had.
QUICK_OPTIONS = {"probesize": "32", "analyzeduration": "0", "merge_pmt_versions": "1"}
# Bound on what FFmpeg keeps while it looks for a track of video: 10 s at 50 Mb/s.
_LONGEST_LOOK_BYTES = 64_000_000
# Their tracks are met while reading, and may change.
TRACKS_APPEAR_LATER = ("mpegts", "mpeg", "flv")
# What a thorough look leaves of the time, to end before the deadline.
_RESERVE_S = 0.5
_ALL_OF_A_FILE_S = 1e6


@dataclass(frozen=True, slots=True)
class ContainerSettings:
    """What to open, and the timeouts of opening and of each picture.

    ``quick_options`` apply to the first attempt only. If that found no video, a second one looks
    for it for ``open_timeout_s``, which also bounds the wait for the first decoded picture.
    ``decoder``: where pictures are decoded, see ``packet_decoder``. ``io_open`` opens what FFmpeg
    would open itself, see ``limited_http``; ``has_length``: whether that has a length in bytes.
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
    io_open: Callable[[str, int, Mapping[str, str]], Any] | None = field(default=None, repr=False)
    has_length: Callable[[], bool] = lambda: False

    def failure(self, reason: SourceFailure, explanation: str) -> SourceError:
        """An error of this source, with its stream and redacted URL."""
        return SourceError(reason, f"{self.stream_id}: {self.redacted_url} {explanation}")


def open_video(
    settings: ContainerSettings, deadline: ReadDeadline, position: int = 0
) -> tuple[av.container.InputContainer, av.VideoStream]:
    """An open container and its video stream; the caller closes it, in this thread.

    ``position`` skips the first bytes of a file. Raises ``SourceError`` if there is no answer
    within ``open_timeout_s``, or no video within as much again; but FFmpeg cannot interrupt the
    resolution of a host name.
    """
    knows_tracks = False
    for look in (_first_look, _thorough_look):
        deadline.allow(settings.open_timeout_s)
        options = {**look(settings, deadline), "skip_initial_bytes": str(position)}
        container, failure = _open(settings, options)
        if container is None:
            raise _refusal(settings, failure, deadline, knows_tracks=knows_tracks)
        # The default video stream; never cover art.
        stream = container.streams.best("video")
        if isinstance(stream, av.VideoStream) and has_decoder(stream):
            return container, stream
        container.close()
        if stream is not None and container.format.name not in TRACKS_APPEAR_LATER:
            break
        knows_tracks = True
    if stream is not None:
        raise settings.failure(
            SourceFailure.CODEC,
            "uses a codec that this FFmpeg build cannot decode; set the camera to H.264",
        )
    raise _no_video(settings)


def has_decoder(stream: av.VideoStream) -> bool:
    """Whether FFmpeg can decode ``stream``."""
    return stream.codec_context is not None


def _first_look(settings: ContainerSettings, _: ReadDeadline) -> dict[str, str]:
    return {**settings.quick_options, **settings.options}


def _thorough_look(settings: ContainerSettings, deadline: ReadDeadline) -> dict[str, str]:
    """Look for video that begins late: in what comes before the deadline, or in all of a file."""
    is_live = bool(settings.quick_options)
    look_s = max(_RESERVE_S, deadline.left_s - _RESERVE_S) if is_live else _ALL_OF_A_FILE_S
    return {
        "probesize": str(_LONGEST_LOOK_BYTES),
        "analyzeduration": str(round(look_s * 1e6)),
        "fpsprobesize": "0",
        "scan_all_pmts": "1",  # else FFmpeg stops at the first tables of a transport stream
        **settings.options,
    }


def _open(
    settings: ContainerSettings, options: dict[str, str]
) -> tuple[av.container.InputContainer | None, SourceError | None]:
    """The container or the error.

    Returned, not raised: an exception raised while another one is handled would refer to it, and
    the text of FFmpeg's holds the password.
    """
    longest_s = max(settings.open_timeout_s, settings.read_timeout_s)  # the deadline is earlier
    try:
        container = av.open(
            settings.url,
            mode="r",
            format=settings.format,
            options=options,
            metadata_errors="replace",
            timeout=(longest_s, longest_s),
            io_open=settings.io_open,
        )
    except Exception as error:  # whatever a library raises is a fault of this source
        return None, source_error(settings.stream_id, settings.redacted_url, error)
    return container, None


def _refusal(
    settings: ContainerSettings,
    failure: SourceError | None,
    deadline: ReadDeadline,
    *,
    knows_tracks: bool,
) -> SourceError:
    if failure is None or deadline.has_passed:
        if knows_tracks:
            return _no_video(settings)
        return settings.failure(
            SourceFailure.TIMEOUT,
            f"did not answer within {settings.open_timeout_s:.1f} s (open_timeout_s)",
        )
    return failure


def _no_video(settings: ContainerSettings) -> SourceError:
    return settings.failure(
        SourceFailure.NO_VIDEO,
        f"has no video stream, or none that began within {settings.open_timeout_s:.1f} s "
        "(open_timeout_s); check the path in the URL",
    )
