"""The frames of one stream that can still be prompted, bounded in number and bytes."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace

from torch import Tensor

from tracker.errors import PromptError
from tracker.images.prepared_image import PreparedImage
from tracker.images.transforms import AnyImage
from tracker.images.yuv import YuvPicture
from tracker.memory.records import Before
from tracker.model import ImageFeatures
from tracker.sessions.prompts import PreparedPrompt
from tracker.types import StepFacts, Track


@dataclass(slots=True, eq=False)  # compared by identity
class TrackedFrame:
    """A frame that can still be prompted.

    A stream without objects is not encoded until one of its frames is prompted: such a frame has an
    ``image`` only. With ``features``, the image is kept where it is the smaller of the two, as a
    fallback, or to look closer at a part of it (``keeps_image``). ``logits`` holds each object's
    low-resolution mask (1, h, w) as published; ``clicks`` the prompts given on this frame;
    ``unconditioned`` the objects decided without memory, because this frame was prompted before it
    was tracked. ``tracks`` is kept for the newest frame only.

    ``time`` is ``index`` plus the frames noted as missing; memories age by it. For the robust
    policy: ``thumbnail_13TT``, ``scene_13`` (cut and camera motion since the previous frame, None
    if that is not kept), and each object's state ``before`` this frame.
    """

    index: int
    time: int
    height: int
    width: int
    image: AnyImage | None
    keeps_image: bool = False
    features: ImageFeatures | None = None
    logits: dict[int, Tensor] = field(default_factory=dict)
    clicks: dict[int, PreparedPrompt] = field(default_factory=dict)
    unconditioned: set[int] = field(default_factory=set)
    tracks: dict[int, Track] = field(default_factory=dict)
    before: dict[int, Before] = field(default_factory=dict)
    thumbnail_13TT: Tensor | None = None
    scene_13: Tensor | None = None
    facts: StepFacts = field(default_factory=StepFacts)

    @classmethod
    def of(
        cls, index: int, time: int, image: AnyImage, *, keeps_image: bool = False
    ) -> TrackedFrame:
        """A frame that is not encoded yet."""
        if isinstance(image, (PreparedImage, YuvPicture)):
            return cls(index, time, image.height, image.width, image, keeps_image)
        return cls(index, time, image.shape[0], image.shape[1], image, keeps_image)

    @property
    def picture(self) -> AnyImage | None:
        """The source's pixels, to look closer at; None where they are not at hand."""
        if not self.keeps_image:
            return None
        return self.image.source if isinstance(self.image, PreparedImage) else self.image

    def encoded(self, features: ImageFeatures) -> None:
        """Keep the encoded features, and the image if it is small or wanted."""
        self.features = features
        if not self.keeps_image:
            self._drop_large_image()

    def reduce(self) -> None:
        """Keep the smaller of image and features: encoding again costs time instead of memory."""
        if isinstance(self.image, PreparedImage):
            self.image = replace(self.image, source=None)
        self._drop_large_image()
        if self.image is not None:
            self.features = None

    def _drop_large_image(self) -> None:
        if self.image is not None and 0 < self._features_bytes <= self.image.nbytes:
            self.image = None

    @property
    def _features_bytes(self) -> int:
        return 0 if self.features is None else sum(level.nbytes for level in self.features)

    @property
    def bytes(self) -> int:
        """Memory the frame keeps alive, on the host and on the device."""
        image = 0 if self.image is None else self.image.nbytes
        # All masks of a frame have the same size.
        logits = next(iter(self.logits.values())).nbytes * len(self.logits) if self.logits else 0
        clicks = sum(prompt.nbytes for prompt in self.clicks.values())
        before = sum(before.nbytes for before in self.before.values())
        thumbnail = 0 if self.thumbnail_13TT is None else self.thumbnail_13TT.nbytes
        return image + self._features_bytes + logits + clicks + before + thumbnail

    def copy(self) -> TrackedFrame:
        """The same frame, with copies of its objects' entries."""
        return replace(
            self,
            logits=dict(self.logits),
            clicks=dict(self.clicks),
            unconditioned=set(self.unconditioned),
            tracks=dict(self.tracks),
            before=dict(self.before),
        )

    def restore_objects(self, copy: TrackedFrame) -> None:
        """Restore the objects' entries from a copy."""
        self.logits, self.clicks = copy.logits, copy.clicks
        self.unconditioned, self.tracks = copy.unconditioned, copy.tracks
        self.before = copy.before

    def forget(self, object_id: int) -> None:
        """Drop an object's entries."""
        self.logits.pop(object_id, None)
        self.clicks.pop(object_id, None)
        self.unconditioned.discard(object_id)
        self.tracks.pop(object_id, None)
        self.before.pop(object_id, None)


class FrameHistory:
    """The newest frames of a stream, oldest first.

    Bounds: ``frames`` and, if given, ``bytes``. Policy: above ``bytes``, the oldest frames that
    have both drop the larger of image and features; when all have, the oldest frame goes. The
    newest stays, however large. Each holder may keep one further frame until it lets that go.
    """

    def __init__(self, frames: int, bytes: int | None) -> None:
        if frames < 1:
            raise ValueError(f"history_frames must be at least 1, got {frames}")
        if bytes is not None and bytes < 0:
            raise ValueError(f"history_bytes must not be negative, got {bytes}")
        self._most_frames = frames
        self._most_bytes = bytes
        self._frames: deque[TrackedFrame] = deque()
        self._sizes: deque[int] = deque()  # of each frame, when last counted
        self._bytes = 0
        self._reduced = 0  # number of the oldest frames that were reduced
        self._held: dict[str, TrackedFrame] = {}  # by holder

    @property
    def bytes(self) -> int:
        """Memory the history keeps alive, including held frames."""
        return self._bytes + sum(frame.bytes for frame in self._held_apart)

    @property
    def indexes(self) -> tuple[int, ...]:
        """Indexes of all frames, oldest first, including held ones."""
        return tuple(frame.index for frame in self.frames)

    @property
    def frames(self) -> tuple[TrackedFrame, ...]:
        """All frames, oldest first, including held ones."""
        return (*self._held_apart, *self._frames)

    @property
    def _held_apart(self) -> list[TrackedFrame]:
        """The held frames that are older than the history, oldest first."""
        oldest = self._frames[0].index if self._frames else 0
        apart = {each.index: each for each in self._held.values() if each.index < oldest}
        return [apart[index] for index in sorted(apart)]

    @property
    def oldest_index(self) -> int | None:
        """Index of the oldest frame other than held ones; None before the first frame."""
        return self._frames[0].index if self._frames else None

    @property
    def newest(self) -> TrackedFrame | None:
        """The frame tracked last."""
        return self._frames[-1] if self._frames else None

    def append(self, frame: TrackedFrame) -> None:
        """Add the frame just tracked."""
        if self._frames:
            self._frames[-1].tracks = {}
        size = frame.bytes
        self._frames.append(frame)
        self._sizes.append(size)
        self._bytes += size
        self._shrink()

    def encoded(self, frame: TrackedFrame, features: ImageFeatures) -> None:
        """Keep the features of an earlier frame that was encoded again, if there is room."""
        is_held = frame in self._held.values()
        if is_held or frame is self.newest or self._has_room(features):
            frame.encoded(features)
            self.count_again()

    def _has_room(self, features: ImageFeatures) -> bool:
        more = sum(level.nbytes for level in features)
        return self._most_bytes is None or self._bytes + more <= self._most_bytes

    def find(self, index: int | None) -> TrackedFrame:
        """The frame of this index, None for the newest. Raises PromptError if it is not kept."""
        if not self._frames:
            raise PromptError("nothing to correct: no frame of this session was tracked yet")
        if index is None:
            index = self._frames[-1].index
        for held in self._held.values():
            if held.index == index:
                return held
        place = index - self._frames[0].index
        if 0 <= place < len(self._frames):
            frame = self._frames[place]
            if frame.image is None and frame.features is None:
                raise PromptError(f"frame {index} was tracked before this session was restored")
            return frame
        raise PromptError(
            f"frame {index} is not in the history, which holds frames "
            f"{self._frames[0].index} to {self._frames[-1].index}"
        )

    def after(self, index: int) -> list[TrackedFrame]:
        """The frames of the history after a frame, oldest first."""
        return [frame for frame in self._frames if frame.index > index]

    def before(self, index: int) -> TrackedFrame | None:
        """The frame just before one, if it is kept."""
        place = index - 1 - self._frames[0].index if self._frames else -1
        return self._frames[place] if 0 <= place < len(self._frames) else None

    def has_left(self, frame: TrackedFrame) -> bool:
        """Whether a frame is older than the history: held, with a gap after it."""
        return bool(self._frames) and frame.index < self._frames[0].index

    def hold(self, index: int, holder: str) -> None:
        """Keep a frame beyond the bounds, in place of the one ``holder`` held before.

        Raises PromptError.
        """
        self._held[holder] = self.find(index)

    def let_go(self, holder: str) -> None:
        """Release the frame that ``holder`` holds, if any."""
        self._held.pop(holder, None)

    def forget_before(self, index: int) -> None:
        """Drop frames older than ``index``; the newest stays."""
        while len(self._frames) > 1 and self._frames[0].index < index:
            self._drop_oldest()

    def forget_object(self, object_id: int) -> None:
        """Drop an object's entries from all frames."""
        for frame in self.frames:
            frame.forget(object_id)

    def count_again(self) -> None:
        """Apply the bounds again, after frames were encoded or prompted."""
        self._sizes = deque(frame.bytes for frame in self._frames)
        self._bytes = sum(self._sizes)
        self._reduced = 0
        for frame in self.frames:
            if frame is not self._frames[-1]:
                frame.tracks = {}
        self._shrink()

    def clear(self) -> None:
        """Drop everything."""
        self._frames.clear()
        self._sizes.clear()
        self._bytes = self._reduced = 0
        self._held.clear()

    def _shrink(self) -> None:
        while len(self._frames) > self._most_frames:
            self._drop_oldest()
        while (
            self._most_bytes is not None
            and self._bytes > self._most_bytes
            and len(self._frames) > 1
        ):
            if self._reduced < len(self._frames) - 1:
                self._reduce(self._reduced)
                self._reduced += 1
            else:
                self._drop_oldest()

    def _reduce(self, place: int) -> None:
        frame = self._frames[place]
        if frame not in self._held.values():
            frame.reduce()
        self._bytes += frame.bytes - self._sizes[place]
        self._sizes[place] = frame.bytes

    def _drop_oldest(self) -> None:
        self._frames.popleft()
        self._bytes -= self._sizes.popleft()
        self._reduced = max(self._reduced - 1, 0)
