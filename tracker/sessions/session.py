"""One stream's state in the tracker: its objects' memory slots and its recent frames."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import torch
from torch import Tensor

from tracker.errors import CapacityError, ObjectMemoryError, SessionError
from tracker.masks.smoothing import MaskSmoother
from tracker.memory.bank import MemoryBank
from tracker.memory.object_memory import ModelIdentity, ObjectMemory, ensure_usable
from tracker.memory.places import ConditioningMemories
from tracker.memory.saved_slots import slot_copy, slot_tensors
from tracker.model import ImageFeatures
from tracker.sessions.history import FrameHistory, TrackedFrame
from tracker.types import StepFacts


class Session:
    """One stream. Created by ``Tracker.open_session``; not shared between threads.

    The frames of its history can be corrected; older ones are dropped. While a step is in flight
    (``Tracker.submit``) a session shows the state before that step, except for the step's new
    objects; methods that change more than one frame finish the step first.
    """

    def __init__(
        self,
        bank: MemoryBank,
        max_objects: int,
        history: FrameHistory,
        model: ModelIdentity,
        on_close: Callable[[Session], None],
        *,
        counts_gaps: bool,
        needs_positive: bool,
    ) -> None:
        self.max_objects = max_objects
        self.needs_positive = needs_positive
        self.frames_seen = 0
        self.smoother = MaskSmoother(past_share=0.0)
        self._bank = bank
        self._slots: dict[int, int] = {}
        self._history = history
        self._model = model
        self._on_close = on_close
        self._closed = False
        self._left_out: set[int] = set()
        self._counts_gaps = counts_gaps
        self._missed = 0
        self._settle: Callable[[], None] | None = None

    @property
    def object_ids(self) -> tuple[int, ...]:
        """Objects being tracked, in the order they were added."""
        return tuple(self._slots)

    def smooth_masks(self, past_share: float) -> None:
        """Blend each published mask with that of the previous frame (0: no blending).

        Raises ValueError for a share that is not 0..0.45.
        """
        self.settle()
        self.smoother = MaskSmoother(past_share)

    def leave_out(self, object_ids: Collection[int]) -> None:
        """Skip these objects on the next frame, at no cost, unless they are prompted on it.

        They have no track on it and no memory of it.
        """
        self._left_out = set(object_ids)

    @property
    def left_out(self) -> set[int]:
        """The set of the last ``leave_out``; a new object for each call."""
        return self._left_out

    def due(self, prompted: Collection[int]) -> tuple[int, ...]:
        """The objects to track on the next frame, in the order they were added."""
        return tuple(each for each in self._slots if each not in self._left_out or each in prompted)

    @property
    def closed(self) -> bool:
        """Whether the session was closed."""
        return self._closed

    @property
    def last_frame(self) -> TrackedFrame | None:
        """The newest tracked frame."""
        return self._history.newest

    @property
    def kept_frames(self) -> tuple[TrackedFrame, ...]:
        """All frames of the history, oldest first, including held ones."""
        return self._history.frames

    @property
    def last_step(self) -> StepFacts:
        """The last step's findings about the whole picture."""
        return StepFacts() if self.last_frame is None else self.last_frame.facts

    @property
    def now(self) -> int:
        """The time of the next frame: frames tracked plus frames noted as missing."""
        return self.frames_seen + self._missed

    def note_gap(self, frames: int) -> None:
        """Note that ``frames`` source frames are missing before the next: dropped, lost or skipped.

        Memories age by them, and predicted boxes become less certain or unknown. The paper's
        policy (``memory_policy="sam2"``) counts processed frames only and ignores gaps. Raises
        ValueError for a negative number.
        """
        if frames < 0:
            raise ValueError(f"a gap has at least 0 frames, got {frames}")
        if self._counts_gaps:
            self._missed += frames

    @property
    def history(self) -> tuple[int, ...]:
        """Indexes of the frames that can be corrected, oldest first; the first frame is 0."""
        return self._history.indexes

    @property
    def oldest_frame(self) -> int | None:
        """The oldest frame of the history other than held ones; None before the first frame."""
        return self._history.oldest_index

    @property
    def history_bytes(self) -> int:
        """Memory of the history, on the host and on the device."""
        return self._history.bytes

    def hold(self, frame_index: int, holder: str = "") -> None:
        """Keep a frame of the history until ``holder`` lets it go or holds another.

        Raises PromptError if the frame is not in the history.
        """
        self._history.hold(frame_index, holder)

    def let_go(self, holder: str = "") -> None:
        """Release the frame that ``holder`` holds, if any."""
        self._history.let_go(holder)

    def forget_before(self, frame_index: int) -> None:
        """Drop the frames before ``frame_index``; the newest and held ones stay."""
        self._history.forget_before(frame_index)

    def frame(self, frame_index: int | None) -> TrackedFrame:
        """A frame of the history, by default the newest. Raises PromptError."""
        return self._history.find(frame_index)

    def frames_after(self, frame_index: int) -> list[TrackedFrame]:
        """The frames of the history after one, oldest first."""
        return self._history.after(frame_index)

    def frame_before(self, frame_index: int) -> TrackedFrame | None:
        """The frame just before one, if the history holds it."""
        return self._history.before(frame_index)

    def encoded(self, frame: TrackedFrame, features: ImageFeatures) -> None:
        """Keep the features of a frame of the history, within its bounds."""
        self._history.encoded(frame, features)

    def has_left(self, frame: TrackedFrame) -> bool:
        """Whether a frame is only held, and the frames after it are gone."""
        return self._history.has_left(frame)

    def count_history(self) -> None:
        """Keep the history within its bounds after frames of it were encoded or prompted."""
        self._history.count_again()

    def slot_of(self, object_id: int) -> int:
        """The bank slot of an object."""
        return self._slots[object_id]

    def add(self, object_id: int) -> None:
        """Allocate a slot for a new object. Raises CapacityError."""
        self._slots[object_id] = self._bank.allocate()

    def begin(self, settle: Callable[[], None] | None) -> None:
        """Register a submitted step's ``settle``, which keeps its results; None: it is over."""
        self._settle = settle

    def settle(self) -> None:
        """Apply the step in flight to this session, if there is one (``PendingStep``)."""
        if self._settle is not None:
            self._settle()

    def remember(self, frame: TrackedFrame, left_out: set[int]) -> None:
        """Append a processed frame and keep the history within its bounds.

        ``left_out``: the set this frame was tracked with; a newer one is for the next frame.
        """
        self._history.append(frame)
        self.frames_seen = frame.index + 1
        if self._left_out is left_out:
            self._left_out = set()

    def remove(self, object_id: int) -> None:
        """Stop tracking an object; others are not affected. Raises KeyError if unknown."""
        self.settle()
        if object_id not in self._slots:
            raise KeyError(f"no object {object_id} in this session; it has {self.object_ids}")
        self._bank.release(self._slots.pop(object_id))
        self._history.forget_object(object_id)
        self.smoother.begin_anew([object_id])

    def export_object(self, object_id: int) -> ObjectMemory:
        """The memory to continue an object with after a restart. Raises KeyError if unknown."""
        self.settle()
        frame_F, spatial_FLc, pointer_FC = self._bank.conditioning(self.slot_of(object_id))
        return ObjectMemory(self._model, self.now - frame_F, spatial_FLc, pointer_FC)

    def import_object(self, object_id: int, memory: ObjectMemory) -> None:
        """Continue an object from the next frame on; it may be anywhere in the picture.

        Raises ObjectMemoryError for a memory of another model or image size, CapacityError or
        SessionError; nothing is changed then.
        """
        self.ensure_open()
        self.settle()
        if object_id in self._slots:
            raise SessionError(f"object {object_id} is tracked already; remove it first")
        if len(self._slots) >= self.max_objects:
            raise CapacityError(f"this session holds {self.max_objects} objects already")
        ensure_usable(object_id, memory, self._model, self._bank.conditioning_shapes)
        frame_F = self.now - memory.age_F
        self.add(object_id)
        try:
            self._bank.condition(
                self.slot_of(object_id),
                ConditioningMemories(frame_F, memory.spatial_FLc, memory.pointer_FC),
            )
        except BaseException:
            self.remove(object_id)
            raise

    def save(self) -> dict[str, Tensor]:
        """All that the next frame depends on, as tensors on the host, for ``restore``.

        Without the history (earlier frames cannot be corrected afterwards) and mask smoothing.
        """
        self.settle()
        last = self.last_frame
        size = (0, 0) if last is None else (last.height, last.width)
        result = {
            "clock": torch.tensor([self.frames_seen, self._missed, *size]),
            "objects": torch.tensor(self.object_ids, dtype=torch.int64),
        }
        if last is not None and last.thumbnail_13TT is not None:
            result["thumbnail"] = last.thumbnail_13TT.cpu().contiguous()
        for object_id, slot in self._slots.items():
            result |= slot_tensors(self._bank.copy(slot), f"{object_id}.")
        return result

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue another session of the same weights from its ``save``: results are identical.

        Only for a session without frames and objects. Raises ObjectMemoryError for tensors that are
        no saved session of this model, CapacityError or SessionError; nothing is changed then.
        """
        self.ensure_open()
        if self.frames_seen or self._slots:
            raise SessionError("only a new session can be restored; open another")
        try:
            frames_seen, missed, height, width = tensors["clock"].tolist()
            object_ids = tensors["objects"].tolist()
        except (KeyError, ValueError) as error:
            raise ObjectMemoryError(f"this is no saved session: {error} is missing") from error
        if len(object_ids) > self.max_objects:
            raise CapacityError(f"this session holds at most {self.max_objects} objects")
        try:
            for object_id in object_ids:
                self.add(object_id)
                slot = self.slot_of(object_id)
                copy = slot_copy(tensors, f"{object_id}.", self._bank.copy(slot))
                self._bank.restore(slot, copy)
        except BaseException:
            for object_id in self.object_ids:
                self.remove(object_id)
            raise
        self._missed = missed
        if frames_seen:
            index = frames_seen - 1
            frame = TrackedFrame(index, index + missed, height, width, None)
            thumbnail = tensors.get("thumbnail")
            if thumbnail is not None:
                frame.thumbnail_13TT = thumbnail.to(self._bank.device)
            self.remember(frame, self._left_out)

    def close(self) -> None:
        """Free all slots. Closing twice is no error."""
        if self._closed:
            return
        self.settle()
        for object_id in self.object_ids:
            self.remove(object_id)
        self._history.clear()
        self._closed = True
        self._on_close(self)

    def ensure_open(self) -> None:
        """Raise SessionError if the session was closed."""
        if self._closed:
            raise SessionError("this session was closed; open another with tracker.open_session()")
