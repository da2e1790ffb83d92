"""Changes a tracker's image size between two steps.

Memories are resampled to the new grid (``tracker.memory.grids``); pointers, motion and thumbnails
do not depend on the size. The history stays correctable: frames with an image are encoded again
on demand, features of others are resampled, as are masks and prompts.

Dimensions: h w mask grid, C channels, K points, S image size.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from tracker.engine.engine import Engine
from tracker.memory.bank import MemoryBank
from tracker.model import ImageFeatures
from tracker.sessions.history import TrackedFrame
from tracker.sessions.prompts import PreparedPrompt
from tracker.sessions.session import Session


class Resizer:
    """Changes the image size of a tracker. Created by the tracker."""

    def __init__(self, engine: Engine, bank: MemoryBank, sessions: Collection[Session]) -> None:
        self._engine = engine
        self._bank = bank
        self._sessions = sessions

    def resize(self, image_size: int) -> None:
        """Switch to this size; if it raises, nothing has changed."""
        before = self._engine.image_size
        if image_size == before:
            return
        frames = [
            (frame, resized(frame, image_size / before))
            for session in self._sessions
            for frame in session.kept_frames
        ]
        self._use(image_size)
        for frame, now in frames:
            frame.features, frame.logits, frame.clicks = now
        for session in self._sessions:
            session.smoother.begin_anew(session.object_ids)
            session.count_history()

    @contextmanager
    def at(self, image_size: int) -> Iterator[None]:
        """Use this size temporarily; the sessions' frames are not converted."""
        before = self._engine.image_size
        self._use(image_size)
        try:
            yield
        finally:
            self._use(before)

    def _use(self, image_size: int) -> None:
        self._bank.use_image_size(image_size)
        self._engine.use_image_size(image_size)


class Resized(NamedTuple):
    """The size-dependent contents of a frame."""

    features: ImageFeatures | None
    logits: dict[int, Tensor]
    clicks: dict[int, PreparedPrompt]


def resized(frame: TrackedFrame, factor: float) -> Resized:
    """A frame's contents, for images whose sides are ``factor`` times as long."""
    features = None
    if frame.features is not None and frame.image is None:
        features = ImageFeatures(*(_scaled(level, factor) for level in frame.features))
    logits = {}
    if frame.logits:
        scaled_n1hw = _scaled(torch.stack(list(frame.logits.values())), factor)
        logits = dict(zip(frame.logits, map(torch.clone, scaled_n1hw), strict=True))
    clicks = {object_id: _prompt(prompt, factor) for object_id, prompt in frame.clicks.items()}
    return Resized(features, logits, clicks)


def _prompt(prompt: PreparedPrompt, factor: float) -> PreparedPrompt:
    prompt = replace(prompt, points_K2=prompt.points_K2 * factor)
    if prompt.mask_1SS is None:
        return prompt
    share_1SS = _scaled(prompt.mask_1SS[None], factor)[0]
    mask_1SS = share_1SS >= 0.5
    if not mask_1SS.any():  # too thin for the new size: keep every cell it touches
        mask_1SS = share_1SS > 0
    return replace(prompt, mask_1SS=mask_1SS.float())


def _scaled(maps_nChw: Tensor, factor: float) -> Tensor:
    if not maps_nChw.shape[1]:  # a trunk without fine maps
        return maps_nChw
    size = [round(side * factor) for side in maps_nChw.shape[2:]]
    # Features have the network's dtype, for which not every device has this kernel.
    scaled = F.interpolate(
        maps_nChw.float(), size, mode="bilinear", align_corners=False, antialias=True
    )
    return scaled.to(maps_nChw.dtype)
