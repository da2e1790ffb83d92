"""One stream's state in the tracker: which object lies in which slot, and the last frames."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from torch import Tensor

from tracker.errors import SessionError
from tracker.memory_bank import MemoryBank
from tracker.model import ImageFeatures
from tracker.prompts import PreparedPrompt


@dataclass(slots=True)
class TrackedFrame:
    """A frame that can still be corrected.

    ``features`` is None until the frame is encoded (a stream without objects is not).
    ``logits`` holds each object's low-resolution mask (1, h, w) as published;
    ``clicks`` the prompts given on this frame; ``unconditioned`` the objects that were decided
    without looking at the memory, because this frame was prompted before it was tracked.
    """

    index: int
    image: npt.NDArray[np.uint8]
    features: ImageFeatures | None = None
    logits: dict[int, Tensor] = field(default_factory=dict)
    clicks: dict[int, PreparedPrompt] = field(default_factory=dict)
    unconditioned: set[int] = field(default_factory=set)


# Frames that stay correctable. The bank keeps one memory more than its window for each of them.
HISTORY_FRAMES = 1


class Session:
    """One stream. Made by ``Tracker.open_session``; not shared between threads.

    At most ``HISTORY_FRAMES`` frames stay correctable, older ones are let go.
    """

    def __init__(
        self,
        bank: MemoryBank,
        max_objects: int,
        on_close: Callable[[Session], None],
    ) -> None:
        self.max_objects = max_objects
        self.frames_seen = 0
        self._bank = bank
        self._slots: dict[int, int] = {}
        self._history: deque[TrackedFrame] = deque(maxlen=HISTORY_FRAMES)
        self._on_close = on_close
        self._closed = False

    @property
    def object_ids(self) -> tuple[int, ...]:
        """Objects being tracked, in the order they were added."""
        return tuple(self._slots)

    @property
    def closed(self) -> bool:
        """Whether the session was closed."""
        return self._closed

    @property
    def last_frame(self) -> TrackedFrame | None:
        """The frame just tracked."""
        return self._history[-1] if self._history else None

    def slot_of(self, object_id: int) -> int:
        """The bank slot of an object."""
        return self._slots[object_id]

    def add(self, object_id: int) -> None:
        """Give a new object a slot. Raises CapacityError."""
        self._slots[object_id] = self._bank.allocate()

    def remember(self, frame: TrackedFrame) -> None:
        """Append a processed frame; the oldest of the history is let go."""
        self._history.append(frame)
        self.frames_seen = frame.index + 1

    def remove(self, object_id: int) -> None:
        """Stop tracking an object; the others are not touched. Raises KeyError if unknown."""
        if object_id not in self._slots:
            raise KeyError(f"no object {object_id} in this session; it has {self.object_ids}")
        self._bank.release(self._slots.pop(object_id))
        for frame in self._history:
            frame.logits.pop(object_id, None)
            frame.clicks.pop(object_id, None)
            frame.unconditioned.discard(object_id)

    def close(self) -> None:
        """Free every slot. Closing twice is no error."""
        if self._closed:
            return
        for object_id in self.object_ids:
            self.remove(object_id)
        self._history.clear()
        self._closed = True
        self._on_close(self)

    def ensure_open(self) -> None:
        """Raise SessionError if the session was closed."""
        if self._closed:
            raise SessionError("this session was closed; open another with tracker.open_session()")
