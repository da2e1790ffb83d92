"""Processes one batch of rows: encode, decide, deliver, remember.

Deciding changes no state and, but for closer looks, never waits for the device. The results are
kept afterwards: at once, or when the numbers that the memory policy needs have arrived. A batch
that fails changes nothing.

Dimensions: B images, N objects, n of one frame, S image size, h w mask grid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from tracker.engine.calls import Array
from tracker.engine.engine import Engine
from tracker.host_arrays import HostBuffers
from tracker.images import transforms
from tracker.masks.packing import bit_places
from tracker.memory.bank import MemoryBank
from tracker.memory.places import IntArray
from tracker.memory.writing import Writer
from tracker.model import ImageFeatures, cpu_paths
from tracker.model.precision import autocast
from tracker.options import TrackerOptions
from tracker.policy.robust import RobustPolicy
from tracker.sessions.history import TrackedFrame
from tracker.sessions.prompts import PreparedPrompt
from tracker.sessions.row import Row, images_of, places_of
from tracker.sessions.session import Session
from tracker.step.closer_look import CloserLook
from tracker.step.comparing import Compared, compared
from tracker.step.decided_rows import DecidedRows, keep_shown, smoothed
from tracker.step.finishing import Finished, Finisher
from tracker.step.results import Delivery, FrameMasks, deliver, packs_at_once
from tracker.step.row_decider import RowDecider
from tracker.step.warming import StepWarmUp
from tracker.step.window import SMALL_VIEW
from tracker.types import Track
from tracker.weights.calibration import ScoreCalibration


class FrameStep:
    """Encodes frames and processes their rows. Created by the tracker.

    ``calibration`` of the predicted IoU; may be replaced.
    """

    def __init__(
        self,
        engine: Engine,
        bank: MemoryBank,
        policy: RobustPolicy | None,
        options: TrackerOptions,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.calibration: ScoreCalibration | None = None
        self._engine = engine
        self._bank = bank
        self._policy = policy
        self._options = options
        self._dtype = dtype
        self._device = device
        self._decider = RowDecider(engine, bank, policy, device)
        self._finisher = Finisher(engine, bank, options.fill_hole_area)
        bank.writer = _EngineWriter(engine, device)
        self.looks_closer = (
            policy is not None
            and options.robust.closer_look
            and max(engine.image_sizes) < SMALL_VIEW
        )
        """Whether frames keep their images, to look closer at what is prompted."""
        self._look_closer = CloserLook(
            engine, self._decider, lambda *images: self.encode(self.pixels_of(*images))
        )
        self._packs = packs_at_once(device, options)
        self.warm_up = StepWarmUp(
            engine, bank, policy, self._decider, self._finisher, packs=self._packs
        )
        # On a processor, results need no transfer.
        self._host_buffers = HostBuffers() if device.type == "cuda" else None

    @property
    def image_size(self) -> int:
        """The side of the images in use."""
        return self._engine.image_size

    @property
    def image_sizes(self) -> tuple[int, ...]:
        """All sides that images may be prepared for."""
        return self._engine.image_sizes

    @contextmanager
    def computing(self) -> Iterator[None]:
        """The context for calls of the network: its precision, a processor's paths and threads."""
        paths = None if self._engine.parts.paths is None else self._engine.parts.paths.paths
        with (
            autocast(self._dtype, self._device),
            cpu_paths.using(paths),
            self._engine.parts.one_thread(),
        ):
            yield

    def row(
        self,
        session: Session,
        object_id: int,
        image: int,
        frame: TrackedFrame,
        prompt: PreparedPrompt | None,
        live: bool,
    ) -> Row:
        """An object's row on a new frame. A click on a live object may correct its tracked mask."""
        clicked = prompt is not None and prompt.mask_1SS is None
        first = clicked and live and self._policy is not None
        first = first and self._options.robust.track_before_prompt
        return Row(session, object_id, image, frame, prompt, first, first)

    def pixels_of(
        self, images: Sequence[transforms.AnyImage], mirrored: Sequence[bool] = ()
    ) -> Tensor:
        """Images at the network's size on the device, uint8 (B, 3, S, S).

        ``mirrored``: which of them are; none of them by default.
        """
        size, device = self.image_size, self._device
        pixels = [transforms.pixels_of(image, size, device) for image in images]
        for place in np.flatnonzero(mirrored):
            pixels[place] = pixels[place].flip(-1)
        return self._engine.calls.table("pixels", pixels)

    def encode(self, pixels_B3SS: Tensor) -> ImageFeatures:
        """Encode images as one batch."""
        with self.computing():
            return self._engine.encode_image(pixels_B3SS)

    def run(self) -> None:
        """Begin what was encoded so far on the device."""
        self._engine.run()

    def encode_late(self, frame: TrackedFrame, before: TrackedFrame | None) -> ImageFeatures:
        """Encode the image of an earlier frame, again or for the first time.

        ``before``: the frame before it, if that is still kept.
        """
        assert frame.image is not None, "a frame keeps its image or its features"
        pixels_13SS = self.pixels_of([frame.image])
        features = self.encode(pixels_13SS)
        found = None
        if frame.thumbnail_13TT is None:
            found = self.compare_frames(pixels_13SS, [before])
        (kept,) = self._kept([frame], features, found)
        return kept

    def compare_frames(
        self, pixels_B3SS: Tensor, before: Sequence[TrackedFrame | None]
    ) -> Compared | None:
        """What changed from the frames before to new ones, if the memory policy asks for it."""
        if self._policy is None:
            return None
        thumbnails = [None if each is None else each.thumbnail_13TT for each in before]
        with self._engine.parts.one_thread():
            return compared(self._engine, self._policy, pixels_B3SS, thumbnails)

    def keep_encoded(
        self, frames: Sequence[TrackedFrame], features: ImageFeatures, found: Compared | None
    ) -> None:
        """Keep with each frame its features, and what changed since the frame before."""
        for frame, own in zip(frames, self._kept(frames, features, found), strict=True):
            frame.encoded(own)

    def _kept(
        self, frames: Sequence[TrackedFrame], features: ImageFeatures, found: Compared | None
    ) -> list[ImageFeatures]:
        """Each frame's features; what changed is kept with the frame."""
        tables = features if found is None else (*features, *found[1:])
        copies = self._engine.calls.kept(tables, [1] * len(frames))
        if found is not None:
            for frame, known, (*_, thumbnail_13TT, scene_13) in zip(
                frames, found.known_B, copies, strict=True
            ):
                frame.thumbnail_13TT = thumbnail_13TT
                frame.scene_13 = scene_13 if known else None
        return [ImageFeatures(*own[:3]) for own in copies]

    def track(self, rows: list[Row], features: ImageFeatures) -> list[list[Track]]:
        """Decide, deliver and remember rows of one earlier frame -> tracks by frame.

        Everything that may fail precedes any change of state.
        """
        decided = self.decide(rows, *self._tables_of(rows[0].frame, features))
        tracks = decided.delivery.tracks()
        self.keep(decided)
        for own, own_tracks in zip(decided.by_frame, tracks, strict=True):
            for row, track in zip(own, own_tracks, strict=True):
                row.frame.tracks[row.object_id] = track
        return tracks

    def decide(
        self, rows: list[Row], features: ImageFeatures, scene_B3: Tensor | None
    ) -> DecidedRows:
        """Decide rows, ordered by frame, and start the transfer of their results to the host.

        Changes no state, and waits for the device only to look closer. ``scene_B3``: what changed
        on each frame, for the robust policy.
        """
        slot_N, time_N = places_of(rows)
        prediction = None if self._policy is None else self._policy.predict(slot_N, time_N)
        with self.computing():
            rows, features = self._look_closer(rows, features)
            decision = self._decider.decide(rows, features, prediction)
            finished = self._finisher.finish(
                decision,
                features.stride16_BCHW,
                scene_B3,
                prediction,
                slot_N,
                images_of(rows),
                self._places(rows),
            )
            self._engine.run()
        by_frame = [list(own) for _, own in groupby(rows, key=lambda row: row.image)]
        logits_by_frame = finished.logits_N1hw.split([len(own) for own in by_frame])
        shown_by_frame = [
            smoothed(own, own_logits)
            for own, own_logits in zip(by_frame, logits_by_frame, strict=True)
        ]
        masks = [
            self._frame_masks(own, own_logits)
            for own, own_logits in zip(by_frame, shown_by_frame, strict=True)
        ]
        delivery = self._deliver(masks, finished)
        before = finished.before_N45
        tables = (finished.logits_N1hw,) if before is None else (finished.logits_N1hw, before)
        # Here, where a lack of memory leads to another try.
        kept = self._engine.calls.kept(tables, [len(own) for own in by_frame])
        return DecidedRows(by_frame, delivery, shown_by_frame, finished, kept, prediction)

    def keep(self, decided: DecidedRows) -> None:
        """Write decided rows to memory, and keep with their frames what corrections need.

        The robust policy needs numbers from the device: the host waits for them here.
        """
        with self._engine.parts.one_thread():
            self._keep(decided)

    def _keep(self, decided: DecidedRows) -> None:
        rows, finished = decided.rows, decided.finished
        spatial, pointer, after = finished.memories
        assert spatial is not None
        assert pointer is not None
        conditioning_N = np.array([self._conditions(row) for row in rows])
        if self._policy is None or decided.prediction is None or after is None:
            self._bank.write(*places_of(rows), conditioning_N, spatial, pointer)
        else:
            self._policy.remember(
                rows,
                conditioning_N,
                decided.prediction,
                decided.delivery.numbers_beside(),
                [motion_45 for _, motions in decided.kept for motion_45 in motions.unbind()],
                (spatial, pointer, after),
            )
        for own, (own_logits, *_) in zip(decided.by_frame, decided.kept, strict=True):
            for row, logits_1hw in zip(own, own_logits.unbind(), strict=True):
                row.frame.logits[row.object_id] = logits_1hw
                if row.prompt is not None:
                    row.frame.clicks[row.object_id] = row.prompt
                    if not row.corrects:
                        row.frame.unconditioned.add(row.object_id)
        for own, shown in zip(decided.by_frame, decided.shown_by_frame, strict=True):
            keep_shown(own, shown)

    def preview(self, rows: list[Row], features: ImageFeatures) -> list[Track]:
        """The tracks that ``track`` would return for rows of one frame; changes no state."""
        features, scene_13 = self._tables_of(rows[0].frame, features)
        slot_N, prediction = np.zeros(len(rows), np.int64), None
        is_held = all(row.object_id in row.session.object_ids for row in rows)
        if is_held:
            slot_N, time_N = places_of(rows)
        if self._policy is not None:
            prediction = self._policy.predict(slot_N, time_N if is_held else slot_N)
        with self.computing():
            rows, features = self._look_closer(rows, features)
            decision = self._decider.decide(rows, features)
            finished = self._finisher.preview(
                decision,
                scene_13,
                prediction,
                slot_N,
                images_of(rows),
                self._places(rows),
                is_held=is_held,
            )
            self._engine.run()
        masks = self._frame_masks(rows, finished.logits_N1hw)
        (tracks,) = self._deliver([masks], finished).tracks()
        return tracks

    def _places(self, rows: Sequence[Row]) -> IntArray | None:
        """Where the bits of each mask go, where they are packed at once."""
        if not self._packs:
            return None
        return bit_places([(row.frame.height, row.frame.width) for row in rows])

    def _deliver(self, masks: Sequence[FrameMasks], finished: Finished) -> Delivery:
        return deliver(
            masks,
            finished.numbers_NX,
            finished.places_N3,
            self._options,
            self.calibration,
            self._host_buffers,
        )

    def _tables_of(
        self, frame: TrackedFrame, features: ImageFeatures
    ) -> tuple[ImageFeatures, Tensor | None]:
        """A kept frame's features, and what changed on it, as tables of one row."""
        table = self._engine.calls.table
        levels = [table("encode_image", [level], place) for place, level in enumerate(features)]
        if self._policy is None or not self._policy.compares_frames:
            return ImageFeatures(*levels), None
        scene_13 = frame.scene_13
        if scene_13 is None:
            scene_13 = torch.zeros(1, 3, device=self._device)
        return ImageFeatures(*levels), table("compare", [scene_13], 1)

    def _frame_masks(self, rows: list[Row], logits_n1hw: Tensor) -> FrameMasks:
        frame = rows[0].frame
        object_ids = [row.object_id for row in rows]
        return FrameMasks.at_source_size(
            object_ids, logits_n1hw, frame.logits, frame.height, frame.width, self._options
        )

    def _conditions(self, row: Row) -> bool:
        """Whether the frame becomes a conditioning memory: prompted before tracking, or by option.

        So does a held frame: the frames after it are gone, so nothing else carries the correction.
        """
        if row.prompt is None:
            return False
        if not row.corrects or self._options.corrections_condition:
            return True
        if row.session.has_left(row.frame):
            return True
        return self._bank.is_conditioning(*row.place)


class _EngineWriter(Writer):
    """Writes by a call of the engine, which the next step's calls may begin."""

    def __init__(self, engine: Engine, device: torch.device) -> None:
        super().__init__(device)
        self._engine = engine
        self.fixed = engine.fixed

    def __call__(
        self,
        function: Callable[..., tuple[()]],
        arrays: Sequence[Array | None],
        tables: Sequence[Tensor],
    ) -> None:
        count = len(tables[0])
        calls = self._engine.over_objects("write", function, np.arange(count), arrays, tables)
        self._engine.calls("write", count, calls)

    @torch.inference_mode()  # also where a session asks
    def run(self) -> None:
        self._engine.run()
