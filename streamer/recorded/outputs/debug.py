"""The clip as a video with masks, names and boxes drawn in, and its sound."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import av.container
import cv2

from streamer.recorded.clip import Clip, as_it_is
from streamer.recorded.picture_clip import PICTURES_PER_S
from streamer.recorded.record import Record
from streamer.sinks.video.overlay import draw_objects
from streamer.types import ImageArray, ObjectResult
from tracker.types import Track

# Codecs that MP4 may hold and players play; others are encoded anew.
_COPIED_SOUND = ("aac", "mp3", "ac3", "eac3", "opus", "flac", "alac")
_TIME_BASE = Fraction(1, 90_000)


def write_debug_video(
    path: Path, record: Record, clip: Clip, on_frame: Callable[[], object]
) -> None:
    """Draw every frame at its own time; a damaged one is left out. Calls ``on_frame`` for each."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        with ExitStack() as stack:
            output = stack.enter_context(av.open(str(partial), "w", format="mp4"))
            video = _video_stream(output, clip)
            sound = _Sound.of(clip, output, stack)
            pictures = stack.enter_context(closing(clip.read(0, backward=False, keep=as_it_is)))
            for (index, image), frame in zip(pictures, record, strict=True):
                on_frame()
                if image is None:
                    continue
                shown_s = clip.time_s(index)
                picture = av.VideoFrame.from_ndarray(
                    drawn(image, frame.tracks, record.names), format="rgb24"
                )
                picture.pts, picture.time_base = round(shown_s / _TIME_BASE), _TIME_BASE
                output.mux(video.encode(picture))
                if sound is not None:
                    sound.copy_until(shown_s)
            output.mux(video.encode())
            if sound is not None:
                sound.copy_until(None)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def drawn(image: ImageArray, tracks: tuple[Track, ...], names: Mapping[int, str]) -> ImageArray:
    """A copy of a picture with the objects drawn in, both sides even, as video needs them."""
    canvas = image[: image.shape[0] & ~1 or 1, : image.shape[1] & ~1 or 1].copy()
    if canvas.shape[0] < 2 or canvas.shape[1] < 2:
        canvas = cast(ImageArray, cv2.resize(image, (2, 2)))
    draw_objects(canvas, [ObjectResult(track, names.get(track.object_id)) for track in tracks])
    return canvas


def _video_stream(output: av.container.OutputContainer, clip: Clip) -> av.VideoStream:
    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    fast: dict[str, object] = (
        {"crf": "21", "preset": "veryfast"} if codec == "libx264" else {"qscale": "3"}
    )
    rate = Fraction(clip.frames - 1 or 1, 1) / Fraction(clip.time_s(clip.frames - 1) or 1)
    stream = output.add_stream(codec, rate=rate.limit_denominator(1001) or PICTURES_PER_S)
    assert isinstance(stream, av.VideoStream), f"{codec} encodes pictures"
    stream.width, stream.height = max(2, clip.width & ~1), max(2, clip.height & ~1)
    stream.pix_fmt = "yuv420p"
    stream.options = dict(fast)
    stream.codec_context.time_base = _TIME_BASE
    return stream


class _Sound:
    """Copies the sound of a clip beside its pictures, so that neither waits in memory."""

    def __init__(
        self,
        source: av.container.InputContainer,
        begin_s: float,
        output: av.container.OutputContainer,
    ) -> None:
        self._output = output
        self._begin_s = begin_s
        stream = source.streams.audio[0]
        self._copies = stream.codec_context.name in _COPIED_SOUND
        if self._copies:
            self._target: av.AudioStream = output.add_stream_from_template(stream)
        else:
            self._target = output.add_stream("aac", rate=stream.codec_context.sample_rate or 44_100)
        self._packets = source.demux(stream)
        self._waiting: av.Packet[av.AudioStream] | None = None

    @staticmethod
    def of(clip: Clip, output: av.container.OutputContainer, stack: ExitStack) -> _Sound | None:
        """The sound of a clip; None without."""
        if clip.path.is_dir():
            return None
        source = stack.enter_context(av.open(str(clip.path), metadata_errors="replace"))
        audio, video = source.streams.audio, source.streams.best("video")
        if not audio or audio[0].codec_context is None or video is None:
            return None
        begin_s = float((video.start_time or 0) * (video.time_base or 0))
        return _Sound(source, begin_s, output)

    def copy_until(self, time_s: float | None) -> None:
        """Copy what is heard up to a time of the pictures; None: all of the rest."""
        for packet in self._next_packets():
            base = packet.time_base
            heard_s = 0.0 if packet.pts is None else float(packet.pts * base) - self._begin_s
            if time_s is not None and heard_s > time_s:
                self._waiting = packet
                return
            if packet.pts is not None and heard_s < 0 and not packet.size:
                continue
            self._write(packet)
        if time_s is None and not self._copies:
            self._output.mux(self._target.encode(None))

    def _next_packets(self) -> Iterator[av.Packet[av.AudioStream]]:
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            yield waiting
        while True:
            try:
                packet = next(self._packets, None)
            except av.FFmpegError:  # the file was cut off
                return
            if packet is None:
                return
            yield packet

    def _write(self, packet: av.Packet[av.AudioStream]) -> None:
        if self._copies:
            if packet.dts is None:  # the end
                return
            shift = round(self._begin_s / packet.time_base)
            packet.pts = (packet.dts if packet.pts is None else packet.pts) - shift
            packet.dts -= shift
            packet.stream = self._target
            self._output.mux(packet)
            return
        try:
            frames = packet.decode()
        except av.FFmpegError:  # damaged sound is left out
            return
        for frame in frames:
            if frame.pts is not None and frame.time_base is not None:
                frame.pts -= round(self._begin_s / frame.time_base)
            self._output.mux(self._target.encode(frame))
