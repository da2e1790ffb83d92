"""The streaming tracker: one step takes the newest frame of every stream and returns its masks.

All images of a step are encoded as one batch, and all objects of all streams go through memory
attention, mask decoder and memory encoder as one batch. Each row of that batch is an object; its
result never depends on the other rows. ``step.step_queue`` and ``step.frame_step`` process a batch,
``step.correction`` a prompt on an earlier frame.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from os import PathLike

import numpy as np
import torch

from tracker.config import PRESETS, ModelConfig
from tracker.engine.calls import CallCounts
from tracker.engine.engine import Engine
from tracker.engine.out_of_memory import is_out_of_memory
from tracker.engine.path_choice import PathChoice
from tracker.engine.warm_up import Progress, WarmUp
from tracker.images import transforms
from tracker.images.prepared_image import PreparedImage
from tracker.images.yuv import YuvPicture
from tracker.memory.bank import MemoryBank
from tracker.memory.object_memory import ModelIdentity
from tracker.model import ImageFeatures, Sam2
from tracker.model.precision import compute_in, resolved_dtype
from tracker.options import TrackerOptions
from tracker.policy.robust import RobustPolicy
from tracker.policy.robust_bank import RobustBank
from tracker.sessions.history import FrameHistory
from tracker.sessions.session import Session
from tracker.step.admission import ImageArray, StepInput, ensure_image
from tracker.step.correction import Correction, Corrector
from tracker.step.frame_step import FrameStep
from tracker.step.memory_room import MemoryRoom
from tracker.step.pending_step import PendingStep
from tracker.step.resizing import Resizer
from tracker.step.step_queue import StepQueue
from tracker.types import Prompt, Track
from tracker.weights.calibration import ScoreCalibration, calibration_path, load_calibration
from tracker.weights.checkpoint import (
    fetch_checkpoint,
    find_checkpoint,
    fingerprint,
    load_checkpoint,
    resolve_device,
)

_log = logging.getLogger(__name__)


class Tracker:
    """SAM 2 over live streams. One tracker serves many sessions; call it from one thread.

    The tracker takes ownership of the model: it is frozen, moved to the device and converted to
    the dtype of the computation.
    """

    def __init__(
        self, model: Sam2, device: torch.device, options: TrackerOptions | None = None
    ) -> None:
        self.options = options or TrackerOptions()
        self.device = device
        # Whether ``submit`` returns before the work is done, so that the caller gains from other
        # work before ``collect``. Read by callers only; tests set it.
        self.overlaps = device.type == "cuda"
        dtype = resolved_dtype(self.options.compute_dtype, device)
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
            self._policy = RobustPolicy(robust, bank)
            self._bank: MemoryBank = bank
        else:
            self._bank = MemoryBank(model.config, self.options.max_objects, device)
        self._engine = Engine(
            model, self.options.engine, self._bank.shapes, device, self.options.max_objects
        )
        self._bank.add_image_sizes(self._engine.image_sizes[1:])
        self._frame_step = FrameStep(
            self._engine, self._bank, self._policy, self.options, dtype, device
        )
        self._sessions: set[Session] = set()
        self._queue = StepQueue(
            self._frame_step,
            self._bank,
            self._sessions,
            self._make_room,
        )
        self._corrector = Corrector(self._frame_step, self._bank, self._sessions)
        self._resizer = Resizer(self._engine, self._bank, self._sessions)
        self._warm_up = WarmUp(self._resizer.at, self._calls_to_warm, self._first_steps)
        self._room = MemoryRoom(
            self._engine, self._bank, self._resizer, self._queue.finish, self._warm_first
        )

    @classmethod
    def from_checkpoint(
        cls,
        name_or_path: str | PathLike[str] = "nano",
        config: ModelConfig | None = None,
        device: str | torch.device = "auto",
        options: TrackerOptions | None = None,
    ) -> Tracker:
        """Load a model by name (``nano``, ``sam2.1_hiera_small``, …), from a file or a folder.

        A folder is one in the layout of `transformers` (``model.safetensors``, ``config.json``).
        Raises CheckpointError if the file is missing, damaged or of another model than ``config``
        (default: given by the name or the file itself).
        """
        model = load_checkpoint(name_or_path, config)
        tracker = cls(model, resolve_device(device), options)
        beside = calibration_path(find_checkpoint(name_or_path))
        tracker.calibration = load_calibration(beside, tracker.identity.fingerprint)
        return tracker

    @classmethod
    def from_pretrained(
        cls,
        name: str | PathLike[str],
        device: str | torch.device = "auto",
        options: TrackerOptions | None = None,
    ) -> Tracker:
        """Like ``from_checkpoint``, and fetch it once from the Hugging Face hub if it is not here.

        ``name`` is ``facebook/sam2.1-hiera-tiny``, any ``OWNER/MODEL`` or ``OWNER/MODEL@REVISION``
        of SAM 2 in the layout of `transformers`, or what ``from_checkpoint`` takes. Needs
        ``huggingface_hub``, whose cache, ``HF_ENDPOINT``, ``HF_TOKEN`` and ``HF_HUB_OFFLINE`` hold.
        Raises CheckpointError.
        """
        fetched = fetch_checkpoint(name)
        return cls.from_checkpoint(fetched, device=device, options=options)

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
        """The network's configuration at the image size in use."""
        return self._engine.model.config

    @property
    def image_sizes(self) -> tuple[int, ...]:
        """The sizes that ``set_image_size`` accepts, largest first (``EngineOptions``)."""
        return self._engine.image_sizes

    @property
    def identity(self) -> ModelIdentity:
        """The model and its weights; object memories and calibrations belong to one."""
        return self._identity

    @property
    def calibration(self) -> ScoreCalibration | None:
        """The calibration of the predicted IoU; may be replaced."""
        return self._frame_step.calibration

    @calibration.setter
    def calibration(self, calibration: ScoreCalibration | None) -> None:
        self._frame_step.calibration = calibration

    @property
    def memory_bank_bytes(self) -> int:
        """Device memory of the bank; fixed when the tracker is created."""
        return self._bank.bytes

    @property
    def free_slots(self) -> int:
        """Free object slots, over all sessions."""
        return self._bank.free_slots

    def open_session(
        self,
        max_objects: int | None = None,
        history_frames: int = 1,
        history_bytes: int | None = None,
        *,
        needs_positive: bool | None = None,
    ) -> Session:
        """Begin a stream of at most ``max_objects`` (default: the whole bank).

        Its newest ``history_frames`` can be corrected, or fewer if they exceed ``history_bytes``
        on host and device together, but always the newest. ``needs_positive``: an object is not
        started by points beside it alone; by default with the robust policy, not with the paper's.
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
            needs_positive=self._policy is not None if needs_positive is None else needs_positive,
        )
        self._sessions.add(session)
        return session

    @torch.inference_mode()
    def prepare(self, image: ImageArray) -> PreparedImage:
        """Resize an image, RGB uint8 (H, W, 3), for the network and copy it to the device.

        ``step`` accepts the result in place of the image, with bitwise equal results; the history
        keeps the prepared image, which holds the array where the tracker may look closer at it
        (``RobustOptions.closer_look``): it must not be modified then. May be called from any
        thread, also while a step runs. Raises ValueError for an array that is not an image.
        """
        ensure_image(image)
        prepared = transforms.prepare_image(image, self.config.image_size, self.device)
        return self._with_source(prepared, image)

    @torch.inference_mode()
    def prepare_yuv(self, picture: YuvPicture) -> PreparedImage:
        """Like ``prepare``, from a decoder's planes, which are converted to RGB on the device.

        Differs from libswscale's conversion by 1 to 2 levels of 255 on average, mostly because
        that truncates fractions, and by up to 16 at sharp edges of colour.
        """
        prepared = transforms.prepare_yuv(picture, self.config.image_size, self.device)
        return self._with_source(prepared, picture)

    def _with_source(
        self, prepared: PreparedImage, source: ImageArray | YuvPicture
    ) -> PreparedImage:
        return replace(prepared, source=source) if self._frame_step.looks_closer else prepared

    def warm_up(self, progress: Progress | None = None) -> None:
        """Make the first steps of a stream as fast as later ones; call it before there is one.

        On a processor it first chooses the fastest paths, by about a second of measurement.
        Nothing that is tracked is touched. ``progress`` is called with the number of calls done
        and of all calls. What is rare is put off, see ``warm_next``. Where the device has too
        little memory, batches or images become smaller, which is logged; raises
        torch.OutOfMemoryError if not even a single object fits.
        """
        self._room.within(partial(self._warm_first, progress))

    @torch.inference_mode()
    def warm_next(self) -> bool:
        """Make one of the rare calls that ``warm_up`` put off; False if none is left.

        Call it between steps, when there is time (on a device about 0.1 s). Until all are made,
        results are the same, in smaller batches; ``set_image_size`` stalls at a size that is cold.
        """
        if not self._warm_up.left:
            return False
        self._queue.finish()
        try:
            self._warm_up.next()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            self._warm_up.put_off_for_good()
            _log.warning(
                "out of memory; rare batches and other image sizes are not made ready, and are "
                "slow when they are needed first: %s",
                str(error).strip().split("\n", 1)[0],
            )
        return True

    @property
    def paths(self) -> PathChoice | None:
        """How a processor computes, and why; None before ``warm_up`` and on other devices."""
        return self._engine.parts.paths

    @property
    def engine_counts(self) -> CallCounts:
        """Counts of called shapes and captured graphs, in all and since the warm-up."""
        return self._engine.counts

    @torch.inference_mode()
    def set_image_size(self, image_size: int) -> None:
        """Track at another size of ``image_sizes`` from the next step on; objects are kept.

        A smaller size is faster and less accurate (``docs/performance.md``). Memories are resampled
        from the size they were computed at, so that returning to a size restores its memories
        exactly. Images prepared for any of the sizes are accepted. Raises ValueError for any other
        size; an error changes nothing. Where the device had too little memory for this size, the
        largest that fits is used.
        """
        if image_size not in self.image_sizes:
            raise ValueError(
                f"image_size must be one of {', '.join(map(str, self.image_sizes))}, "
                f"got {image_size}; EngineOptions.smaller_image_sizes names others"
            )
        self._queue.finish()
        self._room.within(lambda: self._resizer.resize(self._room.fitting(image_size)))

    def step(self, batch: Sequence[StepInput]) -> list[list[Track]]:
        """Track one new frame of each of several streams -> tracks per stream, in batch order.

        Images are RGB uint8 (H, W, 3) or planes, of any size, or prepared; arrays may be kept while
        their frame is in the stream's history, and must not be modified. Prompts start new objects
        or apply to live ones. Raises PromptError, CapacityError, SessionError or, for
        an array that is not an image, ValueError. An error changes nothing, and the frame may be
        given again.
        """
        return self.submit(batch).collect()

    @torch.inference_mode()
    def submit(self, batch: Sequence[StepInput]) -> PendingStep:
        """Begin a ``step`` on the device; ``collect`` of the returned step ends it.

        The host does not wait for this step. At most one earlier step stays in flight; older ones
        are finished first. With the robust policy the host waits for numbers of that step, after
        the new images were submitted. Raises what ``step`` raises, and SessionError if the step in
        flight turns out to have failed; this one was not begun then. Where the device runs out of
        memory, batches or images become smaller, as in the warm-up.
        """
        with self._engine.parts.one_thread():
            return self._room.within(lambda: self._queue.submit(batch))

    @torch.inference_mode()
    def correct(
        self,
        session: Session,
        prompts: Sequence[Prompt],
        frame_index: int | None = None,
        *,
        anew: bool = False,
    ) -> Correction:
        """Apply prompts to a frame of the history, by default the newest, and track from there.

        For an object already on that frame, its mask there is fed back as a prompt and its memory
        of the frame is replaced; with ``anew`` it starts there like a new object. Then the prompted
        objects are tracked through the later frames of the history, where their own earlier
        prompts stand. The newest frame is corrected exactly as without a history. For an earlier
        one, recent memories that were overwritten since are missing: one for each frame after it,
        until a whole window has been tracked again. Raises PromptError (also for a frame that is
        not in the history), CapacityError or SessionError. An error changes nothing.
        """
        self._queue.finish()
        return self._room.within(
            lambda: self._corrector.correct(session, prompts, frame_index, anew)
        )

    @torch.inference_mode()
    def preview(
        self,
        session: Session,
        prompt: Prompt,
        frame_index: int | None = None,
        *,
        anew: bool = False,
    ) -> Track:
        """The track ``correct`` would return for that frame; changes nothing.

        Raises what ``correct`` raises.
        """
        self._queue.finish()
        return self._room.within(
            lambda: self._corrector.preview(session, prompt, frame_index, anew)
        )

    @torch.inference_mode()
    def conditioned(
        self, session: Session, frame_index: int | None = None
    ) -> tuple[ImageFeatures, tuple[int, int]]:
        """The features of a frame of the history, by default the newest, as of a single picture.

        And its height and width. ``pictures.Embeddings`` hold these for an ``ImagePredictor`` of
        ``model()``. A frame of a stream without objects is encoded now. Raises PromptError or
        SessionError.
        """
        self._queue.finish()

        def conditioned() -> tuple[ImageFeatures, tuple[int, int]]:
            features, size = self._corrector.encoded(session, frame_index)
            with self._frame_step.computing():
                stride16 = self.model().attend(features.stride16_BCHW, None)
            return features._replace(stride16_BCHW=stride16), size

        return self._room.within(conditioned)

    @torch.inference_mode()
    def _make_room(self, error: BaseException) -> None:
        self._room.make_room(error)

    def _warm_first(self, progress: Progress | None = None) -> None:
        size = self._engine.image_size
        others = [each for each in self.image_sizes if each < size]
        self._warm_up.run(size, others, progress)
        self._engine.is_warm()

    def _calls_to_warm(self) -> tuple[list[Callable[[], object]], list[Callable[[], object]]]:
        steps = self._frame_step.warm_up
        first, later = map(
            list, self._engine.calls_to_warm(self._bank, steps.images, steps.objects)
        )
        if self._engine.fixed:
            prompts, other_prompts = steps.prompts()
            first += prompts
            later += other_prompts
        return [partial(self._call, call) for call in first], [
            partial(self._call, call) for call in later
        ]

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
        with self._frame_step.computing(), self._engine.cold():
            call()

    def model(self) -> Sam2:
        """The network, for evaluation and tests; its parameters are frozen."""
        return self._engine.model
