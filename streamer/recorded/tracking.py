"""Tracks clips: frames of several clips in one batch, results frame by frame.

Bound: of each clip that is being tracked one picture, what its reader keeps (``Clip.read``) and its
objects' memories, which are fixed when the tracker is made.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from streamer.recorded.clip import Clip
from streamer.recorded.clips import open_clip
from streamer.recorded.passes import Direction, Pass, passes_of
from streamer.recorded.prompts import FramePrompts, checked_for, parse_prompts, read_prompts
from streamer.types import ImageArray
from tracker import Prompt, Session, Track, Tracker
from tracker.images.prepared_image import PreparedImage


@dataclass(frozen=True, slots=True)
class FrameTracks:
    """The objects of one frame. ``tracks`` are of this pass (``backward``) through the clip.

    ``is_damaged``: the picture did not decode, and nothing was tracked on it. ``image``: RGB uint8
    (height, width, 3), if asked for. ``height`` and ``width`` are the clip's.
    """

    frame_index: int
    time_s: float
    height: int
    width: int
    tracks: tuple[Track, ...]
    backward: bool = False
    is_damaged: bool = False
    image: ImageArray | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """Where the tracking of a clip stands between two frames: enough to go on with it.

    ``frames`` of pass ``pass_index`` are done; ``session`` is ``Session.save``'s.
    """

    pass_index: int
    frames: int
    session: Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class _Kept:
    """A picture as the reader keeps it: at the network's size, and itself if asked for."""

    prepared: PreparedImage
    image: ImageArray | None

    @property
    def nbytes(self) -> int:
        return self.prepared.nbytes + (0 if self.image is None else self.image.nbytes)


class ClipRun:
    """One clip on its way through a tracker. Made by ``Together``'s callers, used by one thread."""

    def __init__(
        self,
        clip: Clip,
        prompts: FramePrompts,
        direction: Direction,
        *,
        with_images: bool = False,
        resume: Progress | None = None,
    ) -> None:
        """``resume``: what ``progress`` returned in an earlier run of the same clip and prompts."""
        self.clip = clip
        self.passes = passes_of(direction, prompts)
        self.object_ids = sorted({each.object_id for own in prompts.values() for each in own})
        self._with_images = with_images
        self._resume = resume
        self._done = (0, 0) if resume is None else (resume.pass_index, resume.frames)
        # Whether the objects' memories are a frame ahead of what is confirmed.
        self.is_ahead = False
        self._session: Session | None = None
        self._pictures: Generator[tuple[int, _Kept | None]] | None = None
        self._next: tuple[int, _Kept | None] | None = None

    @property
    def frames(self) -> int:
        """Frames to track, over all passes."""
        return sum(each.frames(self.clip.frames) for each in self.passes)

    @property
    def frames_done(self) -> int:
        """Frames tracked so far, over all passes."""
        index, frames = self._done
        return sum(each.frames(self.clip.frames) for each in self.passes[:index]) + frames

    @property
    def progress(self) -> Progress:
        """To go on from here; of a run that is neither closed nor ahead."""
        assert not self.is_ahead, "the last frame is not confirmed"
        index, frames = self._done
        assert self._session is not None or frames == 0, "closed in the middle of a pass"
        return Progress(index, frames, {} if self._session is None else self._session.save())

    def advance(self, tracker: Tracker) -> bool:
        """Read the next picture; False at the end of the last pass."""
        while self._done[0] < len(self.passes):
            if self._pictures is None:
                self._begin(tracker)
            assert self._pictures is not None, "begun"
            self._next = next(self._pictures, None)
            if self._next is not None:
                return True
            self._end_pass()
        return False

    def input(self) -> tuple[Session, PreparedImage, tuple[Prompt, ...]] | None:
        """The frame that ``advance`` read, for a step; None if it is damaged."""
        assert self._next is not None, "advance read a picture"
        assert self._session is not None, "advance began the pass"
        index, kept = self._next
        self.is_ahead = True
        if kept is None:
            self._session.note_gap(1)
            return None
        return self._session, kept.prepared, self._own.prompts.get(index, ())

    def result(self, tracks: Sequence[Track]) -> FrameTracks:
        """What the step found; ``confirm`` follows when it is kept."""
        assert self._next is not None, "advance read a picture"
        (index, kept), own = self._next, self._own
        shown = [track for track in tracks if own.known.get(track.object_id) != index]
        return FrameTracks(
            frame_index=index,
            time_s=self.clip.time_s(index),
            height=self.clip.height,
            width=self.clip.width,
            tracks=tuple(sorted(shown, key=lambda track: track.object_id)),
            backward=own.backward,
            is_damaged=kept is None,
            image=None if kept is None else kept.image,
        )

    def confirm(self) -> None:
        """The last result is kept: the frame is done. Further calls change nothing."""
        if self.is_ahead:
            self.is_ahead = False
            self._done = (self._done[0], self._done[1] + 1)

    def close(self) -> None:
        """Free the objects' memories and close the file."""
        if self._pictures is not None:
            self._pictures.close()
        if self._session is not None:
            self._session.close()
        self._pictures = self._session = None

    @property
    def _own(self) -> Pass:
        return self.passes[self._done[0]]

    def _begin(self, tracker: Tracker) -> None:
        def keep(image: ImageArray) -> _Kept:
            return _Kept(tracker.prepare(image), image if self._with_images else None)

        self._session = tracker.open_session(max_objects=len(self.object_ids))
        if self._resume is not None and self._resume.session:
            self._session.restore(self._resume.session)
        self._resume = None
        own, done = self._own, self._done[1]
        start = own.start - done if own.backward else own.start + done
        self._pictures = self.clip.read(start, backward=own.backward, keep=keep)

    def _end_pass(self) -> None:
        self.close()
        self._done = (self._done[0] + 1, 0)


def track_together(
    runs: Iterable[ClipRun], tracker: Tracker, together: int = 1
) -> Generator[tuple[ClipRun, FrameTracks]]:
    """Track all clips, frames of up to ``together`` of them in one batch.

    A run is taken from ``runs`` when one before it has ended, and closed after its last result. The
    results of a clip do not depend on the others. The tracker needs a slot for each object of the
    clips that are together: raises ``CapacityError`` otherwise.
    """
    waiting = iter(runs)
    active: list[ClipRun] = []

    def advance(run: ClipRun) -> None:
        if not run.advance(tracker):
            active.remove(run)

    def fill() -> None:
        while len(active) < together and (run := next(waiting, None)) is not None:
            active.append(run)
            advance(run)

    try:
        fill()
        while active:
            inputs = [(run, run.input()) for run in active]
            whole = [(run, given) for run, given in inputs if given is not None]
            tracks = tracker.step([given for _, given in whole]) if whole else []
            found = {id(run): own for (run, _), own in zip(whole, tracks, strict=True)}
            for run in tuple(active):
                yield run, run.result(found.get(id(run), []))
                run.confirm()
            for run in tuple(active):
                advance(run)
            fill()
    finally:
        for run in active:
            run.close()


Prompts = str | Path | Sequence[Mapping[str, Any]]


def segment(
    clip: str | Path | Clip,
    prompts: Prompts,
    tracker: Tracker | None = None,
    *,
    direction: Direction | str = Direction.FORWARD,
    with_images: bool = False,
) -> Iterator[FrameTracks]:
    """Follow objects through a clip: yields the results of one frame after the other.

    ``clip``: a video file or a folder of pictures. ``prompts``: a JSON file, or its entries
    (``streamer.recorded.prompts``). ``tracker``: by default the embedded model; its ``max_objects``
    must be free for the clip's. With ``direction="both"`` the frames before an object's first
    prompt come last, backwards. Memory does not grow with the length of the clip.

    Raises ``ConfigError`` for a prompt that cannot be, with its place, and ``SourceError`` for a
    clip that cannot be read; both before the first result.
    """
    opened = open_clip(clip) if isinstance(clip, (str, Path)) else clip
    way = Direction(direction)
    if isinstance(prompts, (str, Path)):
        entries = read_prompts(Path(prompts), [opened.name])[opened.name]
    else:
        entries = parse_prompts(prompts, "prompts", Path())
    tracker = tracker or Tracker.from_checkpoint()
    checked = checked_for(
        entries, opened, tracker.config.image_size, backward=way is Direction.BACKWARD
    )
    run = ClipRun(opened, checked, way, with_images=with_images)
    return _results(run, tracker)


def _results(run: ClipRun, tracker: Tracker) -> Iterator[FrameTracks]:
    for _, result in track_together([run], tracker):
        yield result
