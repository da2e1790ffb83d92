"""A second look at what a prompt starts in a stream: the part around it fills the network's view.

The mean of what it sees as it is and mirrored starts the object as a mask prompt does, at the IoU
that it predicted. ``pictures.closer_look`` does the same on single pictures.

Dimensions: N objects, h w mask grid, S image size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tracker.engine.engine import Engine
from tracker.images.transforms import AnyImage, part_of
from tracker.model import ImageFeatures
from tracker.sessions.prompts import PreparedPrompt
from tracker.sessions.row import Row
from tracker.step.row_decider import RowDecider
from tracker.step.row_kinds import CLICKED, kind_of
from tracker.step.window import AT_ONCE, WAYS, Points, Window, has_box, whole, window_of

Encode = Callable[[Sequence[AnyImage], Sequence[bool]], ImageFeatures]


class _Seen(NamedTuple):
    """A mask's logits (1, h, w) over a part of the picture, and their predicted IoU."""

    window: Window
    logits_1hw: Tensor
    iou: float


class CloserLook:
    """Looks closer at what clicks and boxes start. Bound: ``AT_ONCE`` objects of a step, mirrored
    too if they are half as many.

    The others of a step start from the first look, so that many detections at once do not hold up
    all streams. ``encode``: encodes images of any size as one batch, some of them mirrored.
    """

    def __init__(self, engine: Engine, decider: RowDecider, encode: Encode) -> None:
        self._engine = engine
        self._decider = decider
        self._encode = encode

    def __call__(self, rows: list[Row], features: ImageFeatures) -> tuple[list[Row], ImageFeatures]:
        """The rows, those that were looked at with their mask as the prompt; and the features.

        Changes no state. Waits for the device where an object is looked at.
        """
        looked = [
            place
            for place, row in enumerate(rows)
            if kind_of(row) == CLICKED and row.frame.picture is not None
        ][:AT_ONCE]
        if not looked:
            return rows, features
        # What is encoded here takes the place of the frames' features in tables that stay.
        (kept,) = self._engine.calls.kept(features, [len(features.stride16_BCHW)])
        closer = self._looks([rows[place] for place in looked], features)
        table = self._engine.calls.table
        features = ImageFeatures(
            *(table("encode_image", [level], place) for place, level in enumerate(kept))
        )
        return [
            replace(row, prompt=closer.get(looked.index(place), row.prompt))
            if place in looked
            else row
            for place, row in enumerate(rows)
        ], features

    def _looks(self, rows: Sequence[Row], features: ImageFeatures) -> dict[int, PreparedPrompt]:
        """The prompts with their mask, by place, of rows whose looks found one."""
        mirrored_too = len(WAYS) * len(rows) <= AT_ONCE
        ways = WAYS if mirrored_too else WAYS[:1]
        first = self._first_looks(rows, features, ways[1:])
        windows: dict[int, Window] = {}
        for place, row in enumerate(rows):
            window = self._window(row, first.get(place))
            if window is None and place not in first and mirrored_too:
                window = _whole(row)
            if window is not None:
                windows[place] = window
        closer = self._seen(rows, windows, ways)
        found: dict[int, PreparedPrompt] = {}
        for place, row in enumerate(rows):
            best = first.get(place) if mirrored_too else None
            if place in closer and (place not in first or closer[place].iou > first[place].iou):
                best = closer[place]
            if best is None or row.prompt is None:
                continue
            height, width, side = row.frame.height, row.frame.width, self._engine.image_size
            mask_1SS = best.window.on_whole(best.logits_1hw, height, width, side, -1.0) > 0
            if mask_1SS.any():
                found[place] = replace(row.prompt, mask_1SS=mask_1SS.float(), mask_iou=best.iou)
        return found

    def _first_looks(
        self, rows: Sequence[Row], features: ImageFeatures, ways: Sequence[bool]
    ) -> dict[int, _Seen]:
        """Whole pictures, for clicks, which do not say where their object is; and in ``ways``."""
        clicked = [
            place
            for place, row in enumerate(rows)
            if row.prompt is not None and not has_box(row.prompt.labels_K)
        ]
        plain = self._decided([rows[place] for place in clicked], features)
        wholes = {place: _whole(rows[place]) for place in clicked}
        further = self._seen(rows, wholes, ways)
        first = {}
        for place, (logits_1hw, iou) in zip(clicked, plain, strict=True):
            seen = [_Seen(wholes[place], logits_1hw, iou)]
            first[place] = _mean(seen + ([further[place]] if place in further else []))
        return first

    def _window(self, row: Row, first: _Seen | None) -> Window | None:
        """The part of the picture to look at, if that shows more than the whole."""
        assert row.prompt is not None
        mask_hw = None if first is None else first.logits_1hw[0] > 0
        points_K2 = self._points_of(row)
        frame = row.frame
        return window_of(points_K2, row.prompt.labels_K, mask_hw, frame.height, frame.width)

    def _points_of(self, row: Row) -> Points:
        """A prompt's points in pixels of the picture."""
        assert row.prompt is not None
        scale = np.array((row.frame.width, row.frame.height)) / self._engine.image_size
        return row.prompt.points_K2 * scale.astype(np.float32)

    def _seen(
        self, rows: Sequence[Row], windows: Mapping[int, Window], ways: Sequence[bool]
    ) -> dict[int, _Seen]:
        """What is seen of rows in these parts of their pictures: the mean of some ways to look."""
        asked: list[Row] = []
        parts: list[AnyImage] = []
        for mirrored in ways:
            for place, window in windows.items():
                row = rows[place]
                prompt, picture = row.prompt, row.frame.picture
                assert prompt is not None
                assert picture is not None
                shares_K2, labels_K = window.prompt(
                    self._points_of(row), prompt.labels_K, mirrored=mirrored
                )
                points_K2 = shares_K2 * np.float32(self._engine.image_size)
                own = replace(prompt, points_K2=points_K2, labels_K=labels_K)
                asked.append(replace(row, image=len(parts), prompt=own))
                parts.append(part_of(picture, *window))
        if not parts:
            return {}
        mirrored_B = [mirrored for mirrored in ways for _ in windows]
        seen: dict[int, list[_Seen]] = {place: [] for place in windows}
        decided = self._decided(asked, self._encode(parts, mirrored_B))
        for place, mirrored, (logits_1hw, iou) in zip(
            [*windows] * len(ways), mirrored_B, decided, strict=True
        ):
            turned_1hw = logits_1hw.flip(-1) if mirrored else logits_1hw
            seen[place].append(_Seen(windows[place], turned_1hw, iou))
        return {place: _mean(own) for place, own in seen.items()}

    def _decided(self, rows: list[Row], features: ImageFeatures) -> list[tuple[Tensor, float]]:
        """Each row's mask logits (1, h, w) and their predicted IoU, on the host."""
        if not rows:
            return []
        decision = self._decider.decide(rows, features)
        self._engine.run()
        logits_N1hw = decision.logits_N1hw.float().cpu()
        return list(zip(logits_N1hw, decision.predicted_iou_N.tolist(), strict=True))


def _whole(row: Row) -> Window:
    return whole(row.frame.height, row.frame.width)


def _mean(seen: Sequence[_Seen]) -> _Seen:
    """Of several looks at one part."""
    logits_1hw = torch.stack([each.logits_1hw for each in seen]).mean(dim=0)
    return _Seen(seen[0].window, logits_1hw, sum(each.iou for each in seen) / len(seen))
