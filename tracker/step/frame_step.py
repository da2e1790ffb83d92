"""Processes one batch of rows: encode, decide, deliver, remember.

Deciding changes no state and never waits for the device. The results are kept afterwards: at once,
or when the numbers that the memory policy needs have arrived. A batch that fails changes nothing.

Dimensions: B images, N objects, n of one frame, S image size, h w mask grid, H W token grid,
L grid tokens, C hidden width, c memory width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from tracker.engine.engine import Engine
from tracker.host_arrays import HostBuffers
from tracker.images import transforms
from tracker.masks.masks import fill_holes
from tracker.memory.bank import MemoryBank
from tracker.model import ImageFeatures, cpu_paths
from tracker.model.precision import autocast
from tracker.options import TrackerOptions
from tracker.policy.decision import MaskDecision
from tracker.policy.prediction import observe
from tracker.policy.robust import RobustPolicy
from tracker.sessions.history import TrackedFrame
from tracker.sessions.prompts import PreparedPrompt
from tracker.sessions.row import Row, images_of, places_of
from tracker.sessions.session import Session
from tracker.step.decided_rows import DecidedRows, keep_shown, smoothed
from tracker.step.results import FrameMasks, deliver
from tracker.step.row_decider import RowDecider
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
        """The context for calls of the network: its precision, and a processor's paths."""
        paths = None if self._engine.paths is None else self._engine.paths.paths
        with autocast(self._dtype, self._device), cpu_paths.using(paths):
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

    def pixels_of(self, images: Sequence[transforms.AnyImage]) -> Tensor:
        """Images at the network's size on the device, uint8 (B, 3, S, S)."""
        return transforms.pixels_of(images, self.image_size, self._device)

    def encode(self, pixels_B3SS: Tensor) -> ImageFeatures:
        """Encode images as one batch."""
        with self.computing():
            return self._engine.encode_image(pixels_B3SS)

    def encode_late(self, frame: TrackedFrame, before: TrackedFrame | None) -> ImageFeatures:
        """Encode the image of an earlier frame, again or for the first time.

        ``before``: the frame before it, if that is still kept.
        """
        assert frame.image is not None, "a frame keeps its image or its features"
        pixels_13SS = self.pixels_of([frame.image])
        if frame.thumbnail_13TT is None:
            self.compare_frames(pixels_13SS, [frame], [before])
        return self.encode(pixels_13SS)

    def compare_frames(
        self,
        pixels_B3SS: Tensor,
        frames: Sequence[TrackedFrame],
        before: Sequence[TrackedFrame | None],
    ) -> None:
        """Pass new frames and those before them to the memory policy, which finds cuts."""
        if self._policy is not None:
            self._policy.compare_frames(pixels_B3SS, frames, before)

    def track(self, rows: list[Row], features: ImageFeatures) -> list[list[Track]]:
        """Decide, deliver and remember rows, ordered by frame -> tracks by frame.

        Everything that may fail precedes any change of state.
        """
        decided = self.decide(rows, features)
        tracks = decided.delivery.tracks()
        self.keep(decided)
        for own, own_tracks in zip(decided.by_frame, tracks, strict=True):
            for row, track in zip(own, own_tracks, strict=True):
                row.frame.tracks[row.object_id] = track
        return tracks

    def decide(self, rows: list[Row], features: ImageFeatures) -> DecidedRows:
        """Decide rows, ordered by frame, and start the transfer of their results to the host.

        Changes no state, and never waits for the device.
        """
        prediction = None if self._policy is None else self._policy.predict(rows)
        with self.computing():
            decision = self._decider.decide(rows, features, prediction)
        logits = self._filled(decision)
        # As in Meta's predictor, a prompted frame is remembered as published, with holes filled;
        # a tracked one as decided.
        prompted = decision.prompted_N.view(-1, 1, 1, 1)
        remembered = torch.where(prompted, logits, decision.logits_N1hw)
        with self.computing():
            spatial_NLc = self._encode_memories(
                rows, decision._replace(logits_N1hw=remembered), features
            )
        observation = None if prediction is None else observe(prediction, decision)
        by_frame = [list(own) for _, own in groupby(rows, key=lambda row: row.image)]
        # A copy for each frame: a view would keep the masks of all streams alive.
        logits_by_frame = [own.clone() for own in logits.split([len(own) for own in by_frame])]
        shown_by_frame = [
            smoothed(own, own_logits)
            for own, own_logits in zip(by_frame, logits_by_frame, strict=True)
        ]
        masks = [
            self._frame_masks(own, own_logits)
            for own, own_logits in zip(by_frame, shown_by_frame, strict=True)
        ]
        delivery = deliver(
            masks,
            decision.predicted_iou_N,
            decision.object_score_logit_N,
            self._options,
            self._bank.pointer_similarity(places_of(rows)[0], decision.pointer_NC),
            self.calibration,
            None if observation is None else observation.predicted_box_N4,
            None if observation is None else observation.evidence_NE,
            self._host_buffers,
        )
        return DecidedRows(
            by_frame,
            delivery,
            logits_by_frame,
            shown_by_frame,
            spatial_NLc,
            decision,
            prediction,
            observation,
        )

    def keep(self, decided: DecidedRows) -> None:
        """Write decided rows to memory, and keep with their frames what corrections need.

        The robust policy needs numbers from the device: the host waits for them here.
        """
        rows, pointer_NC = decided.rows, decided.decision.pointer_NC
        conditioning_N = np.array([self._conditions(row) for row in rows])
        if self._policy is None or decided.prediction is None or decided.observation is None:
            self._bank.write(*places_of(rows), conditioning_N, decided.spatial_NLc, pointer_NC)
        else:
            self._policy.remember(
                rows,
                conditioning_N,
                decided.prediction,
                decided.observation,
                decided.delivery.numbers_beside(),
                decided.spatial_NLc,
                pointer_NC,
            )
        for own, own_logits in zip(decided.by_frame, decided.logits_by_frame, strict=True):
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
        with self.computing():
            decision = self._decider.decide(rows, features)
        masks = self._frame_masks(rows, self._filled(decision))
        similarity_N = predicted_box_N4 = None
        if all(row.object_id in row.session.object_ids for row in rows):
            similarity_N = self._bank.pointer_similarity(places_of(rows)[0], decision.pointer_NC)
            if self._policy is not None:
                observation = observe(self._policy.predict(rows), decision)
                predicted_box_N4 = observation.predicted_box_N4
        (tracks,) = deliver(
            [masks],
            decision.predicted_iou_N,
            decision.object_score_logit_N,
            self._options,
            similarity_N,
            self.calibration,
            predicted_box_N4,
            buffers=self._host_buffers,
        ).tracks()
        return tracks

    def _frame_masks(self, rows: list[Row], logits_n1hw: Tensor) -> FrameMasks:
        frame = rows[0].frame
        object_ids = [row.object_id for row in rows]
        return FrameMasks.at_source_size(
            object_ids, logits_n1hw, frame.logits, frame.height, frame.width, self._options
        )

    def _filled(self, decision: MaskDecision) -> Tensor:
        return fill_holes(decision.logits_N1hw, self._options.fill_hole_area)

    def _encode_memories(
        self, rows: list[Row], decision: MaskDecision, features: ImageFeatures
    ) -> Tensor:
        return self._engine.encode_memory(
            features.stride16_BCHW,
            decision.memory_mask(self.image_size),
            decision.visible_N,
            images_of(rows),
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


def keep_features(frames: list[TrackedFrame], features: ImageFeatures) -> None:
    """Keep each frame's features with it."""
    for row, frame in enumerate(frames):
        own = ImageFeatures(*(level[row : row + 1] for level in features))
        # A view would keep the whole batch alive as long as the slowest of its streams.
        frame.encoded(own if len(frames) == 1 else ImageFeatures(*map(torch.clone, own)))
