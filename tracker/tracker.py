"""The streaming tracker: one step takes the newest frame of every stream and returns its masks.

All images of a step are encoded as one batch, and all objects of all streams go through memory
attention, mask decoder and memory encoder as one batch. Rows of that batch are objects; what a
row's result is never depends on the other rows. What is done with the batch stands in ``steps`` and
``frame_step``, what a prompt on an earlier frame does in ``correction``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from os import PathLike

import numpy as np
import torch

from tracker.config import PRESETS, ModelConfig
from tracker.engine.calls import CallCounts
from tracker.engine.engine import Engine
from tracker.engine.warm_up import Progress, warm_up
from tracker.images import transforms
from tracker.images.prepared_image import PreparedImage
from tracker.images.yuv import (
    YuvPicture,
    prepare_yuv,
)
from tracker.memory.bank import MemoryBank
from tracker.memory.object_memory import ModelIdentity
from tracker.model import Sam2
from tracker.model.precision import compute_in
from tracker.options import TrackerOptions
from tracker.policy.robust import RobustPolicy
from tracker.policy.robust_bank import RobustBank
from tracker.sessions.history import FrameHistory
from tracker.sessions.session import Session
from tracker.step.admission import (
    ImageArray,
    StepInput,
    ensure_image,
)
from tracker.step.correction import (
    Correction,
    Corrector,
)
from tracker.step.frame_step import FrameStep
from tracker.step.pending_step import PendingStep
from tracker.step.resizing import Resizer
from tracker.step.step_queue import StepQueue
from tracker.types import Prompt, Track
from tracker.weights.calibration import (
    ScoreCalibration,
    calibration_path,
    load_calibration,
)
from tracker.weights.checkpoint import (
    find_checkpoint,
    fingerprint,
    load_checkpoint,
    resolve_device,
)


class Tracker:
    """SAM 2 over live streams. One tracker serves many sessions; call it from one thread.

    The model becomes the tracker's own: it is frozen, moved, and kept in the dtype computed in.
    """

    def __init__(
        self, model: Sam2, device: torch.device, options: TrackerOptions | None = None
    ) -> None:
        self.options = options or TrackerOptions()
        self.device = device
        # Whether ``submit`` returns before the work is done, so that there is something to do
        # meanwhile. Only who drives the tracker looks at it; tests set it.
        self.overlaps = device.type == "cuda"
        dtype: torch.dtype = getattr(torch, self.options.resolved_dtype(device.type))
        if (image_size := self.options.engine.image_size) is not None:
            model.resize(image_size)
        self._identity = ModelIdentity(model.config.name, fingerprint(model))
        model = model.to(device).eval().requires_grad_(requires_grad=False)
        compute_in(model, dtype, device)
        model.fix_constants()
        self._policy: RobustPolicy | None = None
        if self.options.memory_policy == "robust":
            robust = self.options.robust
            bank = RobustBank(model.config, self.options.max_objects, device, robust.anchors)
            self._policy = RobustPolicy(robust, bank, device)
            self._bank: MemoryBank = bank
        else:
            self._bank = MemoryBank(model.config, self.options.max_objects, device)
        self._engine = Engine(model, self.options.engine, self._bank.shapes, device)
        self._bank.add_image_sizes(self._engine.image_sizes[1:])
        self._frame_step = FrameStep(
            self._engine, self._bank, self._policy, self.options, dtype, device
        )
        self._sessions: set[Session] = set()
        self._queue = StepQueue(self._frame_step, self._bank, self._sessions)
        self._corrector = Corrector(self._frame_step, self._bank, self._sessions)
        self._resizer = Resizer(self._engine, self._bank, self._sessions)

    @classmethod
    def from_checkpoint(
        cls,
        name_or_path: str | PathLike[str] = "nano",
        config: ModelConfig | None = None,
        device: str | torch.device = "auto",
        options: TrackerOptions | None = None,
    ) -> Tracker:
        """Load a model by name (``nano``, ``sam2.1_hiera_small``, …) or from a file.

        Raises CheckpointError if the file is missing, damaged or of another model than
        ``config`` (default: what the name or the file itself says).
        """
        model = load_checkpoint(name_or_path, config)
        tracker = cls(model, resolve_device(device), options)
        beside = calibration_path(find_checkpoint(name_or_path))
        tracker.calibration = load_calibration(beside, tracker.identity.fingerprint)
        return tracker

    @classmethod
    def random(
        cls,
        config: str | ModelConfig = "nano",
        seed: int = 0,
        device: str | torch.device = "cpu",
        options: TrackerOptions | None = None,
    ) -> Tracker:
        """A tracker with random weights, for tests and timing."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = Sam2(PRESETS[config] if isinstance(config, str) else config)
        return cls(model, resolve_device(device), options)

    @property
    def config(self) -> ModelConfig:
        """Of the network as it is run now: at the image size in use."""
        return self._engine.model.config

    @property
    def image_sizes(self) -> tuple[int, ...]:
        """What ``set_image_size`` may be given, largest first (``EngineOptions``)."""
        return self._engine.image_sizes

    @property
    def identity(self) -> ModelIdentity:
        """Which model and which weights; object memories and calibrations are of one."""
        return self._identity

    @property
    def calibration(self) -> ScoreCalibration | None:
        """Of the predicted IoU; may be replaced."""
        return self._frame_step.calibration

    @calibration.setter
    def calibration(self, calibration: ScoreCalibration | None) -> None:
        self._frame_step.calibration = calibration

    @property
    def memory_bank_bytes(self) -> int:
        """Device memory the bank holds; fixed when the tracker is made."""
        return self._bank.bytes

    @property
    def free_slots(self) -> int:
        """Objects that still fit, over all sessions."""
        return self._bank.free_slots

    def open_session(
        self,
        max_objects: int | None = None,
        history_frames: int = 1,
        history_bytes: int | None = None,
    ) -> Session:
        """Begin a stream. ``max_objects`` bounds this stream (default: the whole bank).

        Its newest ``history_frames`` stay correctable, fewer if they take more than
        ``history_bytes`` on host and device together; the very newest always does.
        """
        limit = self._bank.capacity if max_objects is None else max_objects
        if limit < 1:
            raise ValueError(f"max_objects must be at least 1, got {limit}")
        history = FrameHistory(history_frames, history_bytes)
        session = Session(
            self._bank,
            limit,
            history,
            self._identity,
            self._sessions.discard,
            counts_gaps=self._policy is not None,
        )
        self._sessions.add(session)
        return session

    @torch.inference_mode()
    def prepare(self, image: ImageArray) -> PreparedImage:
        """Resize an image for the network and bring it to the device; ``step`` takes it instead.

        RGB uint8 (H, W, 3). The results are those of the image itself, bit for bit; the history
        keeps the prepared one. May be called from any thread, also while a step runs. Raises
        ValueError for an array that is no image.
        """
        ensure_image(image)
        return transforms.prepare_image(image, self.config.image_size, self.device)

    @torch.inference_mode()
    def prepare_yuv(self, picture: YuvPicture) -> PreparedImage:
        """Like ``prepare``, of a decoder's planes: they are turned into RGB on the device.

        Differs from what libswscale makes of them by 1 to 2 levels of 255 in the mean, mostly
        because that cuts off fractions, and at hard edges of colour by up to 16.
        """
        return prepare_yuv(picture, self.config.image_size, self.device)

    def warm_up(self, progress: Progress | None = None) -> None:
        """Make the first steps of a stream as fast as later ones; call it before there is one.

        Nothing that is tracked is touched. ``progress`` is called with the number of calls done
        and of all calls.
        """
        calls = [partial(self._call, call) for call in self._engine.calls_to_warm(self._bank)]
        warm_up(self.image_sizes, self._resizer.at, calls, self._first_steps, progress)
        self._engine.is_warm()

    @property
    def engine_counts(self) -> CallCounts:
        """Which shapes were called and which graphs captured, before and after the warm-up."""
        return self._engine.counts

    @torch.inference_mode()
    def set_image_size(self, image_size: int) -> None:
        """Track at another size from the next step on, one of ``image_sizes``; objects go on.

        A smaller one is faster, and less exact (``docs/benchmarks.md``). What is
        remembered is resampled from the size it was made at: back at the size before, what was
        remembered there is as it was. Images prepared for another of the sizes are still taken.
        Raises ValueError for a size that is none of these; whatever is raised changes nothing.
        """
        if image_size not in self.image_sizes:
            raise ValueError(
                f"image_size must be one of {', '.join(map(str, self.image_sizes))}, "
                f"got {image_size}; EngineOptions.smaller_image_sizes names others"
            )
        self._queue.finish()
        self._resizer.resize(image_size)

    def step(self, batch: Sequence[StepInput]) -> list[list[Track]]:
        """Track one new frame of each of several streams -> tracks per stream, in batch order.

        Images are RGB uint8 (H, W, 3) or planes, of any size, or prepared; arrays may be kept while
        their frame is in the stream's history, and must not be written to. Prompts start objects
        or prompt live ones anew on this frame. Raises PromptError, CapacityError, SessionError
        or, for an array that is no image, ValueError before anything is changed; whatever else is
        raised changes nothing either, and the frame may be given again.
        """
        return self.submit(batch).collect()

    @torch.inference_mode()
    def submit(self, batch: Sequence[StepInput]) -> PendingStep:
        """Begin a ``step``, and leave it to the device; ``collect`` of the answer ends it.

        The host does not wait for what it gives to the device here. Of a step that is on its way
        already (one at most: an older one is finished first) it waits for what the robust policy
        has to know, when the device has the new images; the paper's policy has to know nothing.
        Raises what ``step`` raises, and SessionError where the step before turns out to have
        failed: then this one was not begun.
        """
        return self._queue.submit(batch)

    @torch.inference_mode()
    def correct(
        self,
        session: Session,
        prompts: Sequence[Prompt],
        frame_index: int | None = None,
        *,
        anew: bool = False,
    ) -> Correction:
        """Apply clicks to a frame of the history, by default the newest, and catch up from there.

        For an object already on that frame, its mask there is fed back as a prompt and its
        memory of the frame is replaced; with ``anew`` it starts there again, as an unknown
        object does. Then the prompted objects are tracked through the frames of the history that
        followed. Where they were themselves prompted on one of these, that prompt stands.
        The newest frame is corrected exactly as if no history were kept. Of an earlier one, recent
        memories are missing that were overwritten meanwhile: as many of its window as frames
        followed it. Once a whole window has been caught up, all memories are there again.
        Raises PromptError (also for a frame that is not in the history), CapacityError or
        SessionError before anything is changed; whatever else is raised changes nothing either.
        """
        self._queue.finish()
        return self._corrector.correct(session, prompts, frame_index, anew)

    @torch.inference_mode()
    def preview(
        self,
        session: Session,
        prompt: Prompt,
        frame_index: int | None = None,
        *,
        anew: bool = False,
    ) -> Track:
        """What ``correct`` would find on that frame. No object, mask or memory is changed.

        Raises what ``correct`` raises.
        """
        self._queue.finish()
        return self._corrector.preview(session, prompt, frame_index, anew)

    @contextmanager
    def _first_steps(self) -> Iterator[list[Callable[[], object]]]:
        """Steps that start an object and track it on two grey frames, in a session of their own.

        The second of these is the first to read a tracked memory. None without a free slot.
        """
        if not self.free_slots:
            yield []
            return
        side = self.config.image_size
        grey = self.prepare(np.full((side, side, 3), 128, np.uint8))
        click = Prompt(0, points_xy=((side / 2, side / 2),), point_labels=(1,))
        session = self.open_session(max_objects=1)
        try:
            yield [partial(self.step, [(session, grey, own)]) for own in ([click], [], [])]
        finally:
            session.close()

    @torch.inference_mode()
    def _call(self, call: Callable[[], object]) -> None:
        with self._frame_step.autocast():
            call()

    def model(self) -> Sam2:
        """The network, for evaluation and tests; its parameters are frozen."""
        return self._engine.model
