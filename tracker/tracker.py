"""The streaming tracker: one step takes the newest frame of every stream and returns its masks.

All images of a step are encoded as one batch, and all objects of all streams go through memory
attention, mask decoder and memory encoder as one batch. Rows of that batch are objects; what a
row's result is never depends on the other rows.

Dimensions: B images, N objects, K points, S image size, h w mask grid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import groupby
from os import PathLike

import numpy as np
import torch
from torch import Tensor

from tracker import transforms
from tracker.admission import (
    ImageArray,
    StepInput,
    admit,
    admit_prompts,
    ensure_free,
    ensure_image,
    ensure_own,
)
from tracker.calibration import ScoreCalibration, calibration_path, load_calibration
from tracker.checkpoint import find_checkpoint, fingerprint, load_checkpoint, resolve_device
from tracker.config import PRESETS, ModelConfig
from tracker.correction import Correction, unchanged_on_error
from tracker.decision import Decision
from tracker.decoding import store_as_computed
from tracker.engine.calls import CallCounts
from tracker.engine.engine import Engine
from tracker.engine.prepared_image import PreparedImage
from tracker.engine.warm_up import Progress, warm_up
from tracker.engine.yuv import YuvPicture, prepare_yuv
from tracker.history import FrameHistory, TrackedFrame
from tracker.masks import fill_holes
from tracker.memory_bank import MemoryBank
from tracker.model import ImageFeatures, Sam2
from tracker.model.layers import tokens_from_grid
from tracker.object_memory import ModelIdentity
from tracker.options import TrackerOptions
from tracker.policy.robust import RobustPolicy
from tracker.policy.robust_bank import RobustBank
from tracker.prompts import PreparedPrompt
from tracker.results import FrameMasks, tracks_of
from tracker.rows import Row, RowDecider, images_of, places_of
from tracker.session import Session
from tracker.types import Prompt, Track


class Tracker:
    """SAM 2 over live streams. One tracker serves many sessions; call it from one thread.

    The model becomes the tracker's own: it is frozen, moved, and kept in the dtype computed in.
    """

    def __init__(
        self, model: Sam2, device: torch.device, options: TrackerOptions | None = None
    ) -> None:
        self.options = options or TrackerOptions()
        self.device = device
        self._dtype: torch.dtype = getattr(torch, self.options.resolved_dtype(device.type))
        if (image_size := self.options.engine.image_size) is not None:
            model.resize(image_size, self.options.engine.positions == "stretched")
        self.config: ModelConfig = model.config
        self._identity = ModelIdentity(model.config.name, fingerprint(model))
        self._model = model.to(device).eval().requires_grad_(requires_grad=False)
        store_as_computed(self._model, self._dtype, device)
        model.fix_constants()
        self._policy: RobustPolicy | None = None
        if self.options.memory_policy == "robust":
            robust = self.options.robust
            bank = RobustBank(model.config, self.options.max_objects, device, robust)
            self._policy = RobustPolicy(robust, bank, device)
            self._bank: MemoryBank = bank
        else:
            self._bank = MemoryBank(model.config, self.options.max_objects, device)
        self._engine = Engine(self._model, self.options.engine, self._bank.shapes, device)
        self._decider = RowDecider(self._engine, self._bank, self._policy, device)
        self._sessions: set[Session] = set()
        self.calibration: ScoreCalibration | None = None  # of the predicted IoU; may be replaced

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
    def identity(self) -> ModelIdentity:
        """Which model and which weights; object memories and calibrations are of one."""
        return self._identity

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
        """Make the first steps of a stream as fast as the others; call it before there is one.

        ``progress`` is told the steps done and the steps in all.
        """
        calls = self._engine.calls_to_warm(self._bank)
        warm_up(self, [partial(self._call, call) for call in calls], progress)
        self._engine.is_warm()

    @property
    def engine_counts(self) -> CallCounts:
        """Which shapes were called and which graphs captured, before and after the warm-up."""
        return self._engine.counts

    @torch.inference_mode()
    def step(self, batch: Sequence[StepInput]) -> list[list[Track]]:
        """Track one new frame of each of several streams -> tracks per stream, in batch order.

        Images are RGB uint8 (H, W, 3) of any size, or prepared ones; arrays may be kept while
        their frame is in the stream's history, and must not be written to. Prompts start objects
        or prompt live ones anew on this frame. Raises PromptError, CapacityError, SessionError
        or, for an array that is no image, ValueError before anything is changed; whatever else is
        raised changes nothing either, and the frame may be given again.
        """
        prepared = self._admit(batch)
        frames = [
            TrackedFrame.of(session.frames_seen, session.now, image) for session, image, _ in batch
        ]
        results: list[list[Track]] = [[] for _ in batch]
        live = [set(session.object_ids) for session, _, _ in batch]
        with self._added(
            [
                (session, object_id)
                for (session, _, _), prompts in zip(batch, prepared, strict=True)
                for object_id in prompts
            ]
        ):
            due = [
                session.due(prompts)
                for (session, _, _), prompts in zip(batch, prepared, strict=True)
            ]
            needed = [place for place, object_ids in enumerate(due) if object_ids]
            rows = [
                self._row(
                    batch[place][0],
                    object_id,
                    image,
                    frames[place],
                    prepared[place].get(object_id),
                    object_id in live[place],
                )
                for image, place in enumerate(needed)
                for object_id in due[place]
            ]
            if rows:
                encoded = [frames[place] for place in needed]
                features = self._encode(encoded, [batch[place][0].last_frame for place in needed])
                self._keep_features(encoded, features)
                tracks = self._track(rows, features)
                for place, own in zip(needed, tracks, strict=True):
                    results[place] = own
        for (session, _, _), frame in zip(batch, frames, strict=True):
            session.remember(frame)
        return results

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
        rows = self._rows_at(session, prompts, frame_index, anew)
        if not rows:
            return Correction([], [])
        frame = rows[0].frame
        following = session.frames_after(frame.index)
        object_ids = [row.object_id for row in rows]
        try:
            with (
                unchanged_on_error(self._bank, session, object_ids, [frame, *following]),
                self._added([(session, object_id) for object_id in object_ids]),
            ):
                for object_id in object_ids:
                    self._go_back(session, object_id, frame)
                (tracks,) = self._track(rows, self._features(session, frame))
                if not following:
                    return Correction(tracks, tracks)
                for later in following:
                    self._catch_up(session, object_ids, later)
                newest = following[-1].tracks
                return Correction(tracks, [newest[object_id] for object_id in object_ids])
        finally:
            session.count_history()

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
        rows = self._rows_at(session, [prompt], frame_index, anew)
        features = self._features(session, rows[0].frame)
        with self._autocast():
            decision = self._decider.decide(rows, features)
        masks = self._frame_masks(rows, self._filled(decision))
        ((track,),) = tracks_of(
            [masks], decision.predicted_iou_N, decision.object_score_logit_N, self.options
        ).tracks
        return track

    def _row(
        self,
        session: Session,
        object_id: int,
        image: int,
        frame: TrackedFrame,
        prompt: PreparedPrompt | None,
        live: bool,
    ) -> Row:
        """An object on a new frame. A click on a live one may correct what is tracked there."""
        clicked = prompt is not None and prompt.mask_1SS is None
        first = clicked and live and self._policy is not None
        first = first and self.options.robust.track_before_prompt
        return Row(session, object_id, image, frame, prompt, first, first)

    def _go_back(self, session: Session, object_id: int, frame: TrackedFrame) -> None:
        """Let an object remember and know what it did before that frame, as far as it is kept."""
        slot = session.slot_of(object_id)
        self._bank.forget_recent_after(slot, frame.time)
        if isinstance(self._bank, RobustBank):
            self._bank.know(slot, frame.before.get(object_id))

    def _rows_at(
        self, session: Session, prompts: Sequence[Prompt], frame_index: int | None, anew: bool
    ) -> list[Row]:
        """Prompts on a frame of the history, added to what was clicked there unless ``anew``."""
        ensure_own(session, self._sessions)
        frame = session.frame(frame_index)
        size = self.config.image_size
        prepared = admit_prompts(session, prompts, frame.height, frame.width, size)
        ensure_free(len(prepared.keys() - set(session.object_ids)), self._bank)
        return [
            Row(session, object_id, 0, frame, prompt)
            if anew
            else Row(
                session,
                object_id,
                0,
                frame,
                prompt.after(frame.clicks.get(object_id)),
                object_id in frame.logits,
            )
            for object_id, prompt in prepared.items()
        ]

    def _catch_up(self, session: Session, object_ids: Sequence[int], frame: TrackedFrame) -> None:
        """Track some objects on an earlier frame once more, with what they remember now.

        Where an object was started on this frame, nothing that it remembers decided it: it stays.
        """
        rows = [
            Row(session, each, 0, frame, frame.clicks.get(each), each in frame.clicks)
            for each in object_ids
            if each not in frame.unconditioned
        ]
        if rows:
            self._track(rows, self._features(session, frame))

    def _features(self, session: Session, frame: TrackedFrame) -> ImageFeatures:
        if frame.features is not None:
            return frame.features
        features = self._encode([frame])
        session.encoded(frame, features)
        return features

    def _admit(self, batch: Sequence[StepInput]) -> list[dict[int, PreparedPrompt]]:
        return admit(batch, self._sessions, self._bank, self.config.image_size)

    @contextmanager
    def _added(self, wanted: Sequence[tuple[Session, int]]) -> Iterator[None]:
        """Give objects that are new a slot, and take it back if what follows fails."""
        added: list[tuple[Session, int]] = []
        try:
            for session, object_id in wanted:
                if object_id not in session.object_ids:
                    session.add(object_id)
                    added.append((session, object_id))
            yield
        except BaseException:
            for session, object_id in added:
                session.remove(object_id)
            raise

    def _encode(
        self, frames: list[TrackedFrame], before: Sequence[TrackedFrame | None] = ()
    ) -> ImageFeatures:
        """Encode the images of some frames as one batch; new ones come with those before them."""
        images = [frame.image for frame in frames if frame.image is not None]
        pixels_B3SS = transforms.pixels_of(images, self.config.image_size, self.device)
        if self._policy is not None and before:
            self._policy.look(pixels_B3SS, frames, before)
        with self._autocast():
            return self._engine.encode_image(pixels_B3SS)

    @staticmethod
    def _keep_features(frames: list[TrackedFrame], features: ImageFeatures) -> None:
        """Keep each frame's features with it."""
        for row, frame in enumerate(frames):
            own = ImageFeatures(*(level[row : row + 1] for level in features))
            # A view would keep the whole batch for as long as the slowest of its streams stands.
            frame.encoded(own if len(frames) == 1 else ImageFeatures(*map(torch.clone, own)))

    def _track(self, rows: list[Row], features: ImageFeatures) -> list[list[Track]]:
        """Decide, deliver and remember rows, which lie frame by frame -> tracks by frame.

        All that may fail comes before anything is kept, so that a step that failed left no trace.
        """
        outlook = None if self._policy is None else self._policy.outlook(rows)
        with self._autocast():
            decision = self._decider.decide(rows, features, outlook)
        logits = self._filled(decision)
        # As in Meta's predictor, a prompted frame is remembered with its holes filled, as it is
        # shown; a tracked one as it was decided.
        prompted = decision.prompted_N.view(-1, 1, 1, 1)
        remembered = torch.where(prompted, logits, decision.logits_N1hw)
        with self._autocast():
            spatial_NLc = self._encode_memories(
                rows, decision._replace(logits_N1hw=remembered), features
            )
        by_frame = [list(own) for _, own in groupby(rows, key=lambda row: row.image)]
        # A copy for each frame: a view would keep what belongs to the other streams.
        logits_by_frame = [own.clone() for own in logits.split([len(own) for own in by_frame])]
        shown_by_frame = [
            _smoothed(own, own_logits)
            for own, own_logits in zip(by_frame, logits_by_frame, strict=True)
        ]
        masks = [
            self._frame_masks(own, own_logits)
            for own, own_logits in zip(by_frame, shown_by_frame, strict=True)
        ]
        sighting = None
        if self._policy is not None and outlook is not None:
            sighting = self._policy.see(outlook, decision)
        tracks, beside_NE = tracks_of(
            masks,
            decision.predicted_iou_N,
            decision.object_score_logit_N,
            self.options,
            self._bank.pointer_similarity(places_of(rows)[0], decision.pointer_NC),
            self.calibration,
            *(() if sighting is None else (sighting.predicted_box_N4, sighting.evidence_NE)),
        )
        if self._policy is None or outlook is None or sighting is None:
            self._remember(rows, spatial_NLc, decision.pointer_NC)
        else:
            conditioning_N = np.array([self._conditions(row) for row in rows])
            self._policy.remember(
                rows,
                conditioning_N,
                outlook,
                sighting,
                beside_NE,
                spatial_NLc,
                decision.pointer_NC,
            )
        for own, own_logits, own_tracks in zip(by_frame, logits_by_frame, tracks, strict=True):
            for row, logits_1hw, track in zip(own, own_logits.unbind(), own_tracks, strict=True):
                row.frame.logits[row.object_id] = logits_1hw
                row.frame.tracks[row.object_id] = track
                if row.prompt is not None:
                    row.frame.clicks[row.object_id] = row.prompt
                    if not row.corrects:
                        row.frame.unconditioned.add(row.object_id)
        for own, shown in zip(by_frame, shown_by_frame, strict=True):
            own[0].session.smoother.keep([row.object_id for row in own], shown)
        return tracks

    def _frame_masks(self, rows: list[Row], logits_n1hw: Tensor) -> FrameMasks:
        frame = rows[0].frame
        object_ids = [row.object_id for row in rows]
        return FrameMasks.at_source_size(
            object_ids, logits_n1hw, frame.logits, frame.height, frame.width, self.options
        )

    def _filled(self, decision: Decision) -> Tensor:
        return fill_holes(decision.logits_N1hw, self.options.fill_hole_area)

    def _encode_memories(
        self, rows: list[Row], decision: Decision, features: ImageFeatures
    ) -> Tensor:
        spatial_NcHW = self._engine.encode_memory(
            features.stride16_BCHW,
            decision.memory_mask(self.config.image_size),
            decision.visible_N,
            images_of(rows),
        )
        return tokens_from_grid(spatial_NcHW)

    def _remember(self, rows: list[Row], spatial_NLc: Tensor, pointer_NC: Tensor) -> None:
        slot_N, frame_N = places_of(rows)
        conditioning_N = np.array([self._conditions(row) for row in rows])
        self._bank.write(slot_N, frame_N, conditioning_N, spatial_NLc, pointer_NC)

    def _conditions(self, row: Row) -> bool:
        """Whether the frame is kept for ever: prompted before it was tracked, or by option.

        So is a held frame: what came next is gone, and would hand nothing on.
        """
        if row.prompt is None:
            return False
        if not row.corrects or self.options.corrections_condition:
            return True
        if row.session.has_left(row.frame):
            return True
        return self._bank.is_conditioning(*row.place)

    @torch.inference_mode()
    def _call(self, call: Callable[[], object]) -> None:
        with self._autocast():
            call()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self._dtype, enabled=self._dtype != torch.float32)

    def model(self) -> Sam2:
        """The network, for evaluation and tests; its parameters are frozen."""
        return self._model


def _smoothed(rows: list[Row], logits_n1hw: Tensor) -> Tensor:
    """What is shown of one frame's objects; a prompt, and a frame tracked again, is shown as is."""
    session, frame = rows[0].session, rows[0].frame
    again = frame.index < session.frames_seen
    anew = {row.object_id for row in rows if again or row.prompt is not None}
    return session.smoother.blend([row.object_id for row in rows], logits_n1hw, anew)
