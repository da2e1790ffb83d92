"""Decides the rows of a batch together: memory attention, mask decoder, choice of a mask.

Rows of one kind go into one call, whose work is in ``step.deciding``.

Dimensions: N objects, R rows decided by one call, K points, S image size.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tracker.engine.calls import Array, Call
from tracker.engine.engine import Engine
from tracker.host_arrays import sent
from tracker.memory.bank import MemoryBank
from tracker.memory.frame_columns import BoolArray
from tracker.memory.places import IntArray
from tracker.model import ImageFeatures
from tracker.policy.decision import MaskDecision
from tracker.policy.prediction import Prediction
from tracker.policy.robust import RobustPolicy
from tracker.sessions.row import Row, images_of, places_of
from tracker.step.deciding import Deciding
from tracker.step.row_kinds import MASK, TRACKED, Kind, kind_of

# Of conditioned frames, previous masks, and the three levels of features.
Tables = tuple[Tensor | None, ...]
# Of each row: its rows in the first two, its image, and the area that its object usually covers.
Arrays = tuple[Array | None, ...]


class RowDecider:
    """Runs rows through memory attention and mask decoder; changes no state."""

    def __init__(
        self,
        engine: Engine,
        bank: MemoryBank,
        policy: RobustPolicy | None,
        device: torch.device,
    ) -> None:
        self._engine = engine
        self._policy = policy
        self._bank = bank
        self._device = device
        self._deciding = Deciding(engine, policy)

    def decide(
        self, rows: list[Row], features: ImageFeatures, prediction: Prediction | None = None
    ) -> MaskDecision:
        """Decide rows, decoding those of one kind together; the result is in the order given.

        ``prediction`` of the robust policy for the rows; needed where any is tracked.
        """
        kinds = [kind_of(row) for row in rows]
        image_N = images_of(rows)
        memory_N = _numbered([kind.remembers for kind in kinds])
        previous_N = _numbered([kind.previous for kind in kinds])
        conditioned = previous = None
        if (memory_N >= 0).any():
            own = [row for row, kind in zip(rows, kinds, strict=True) if kind.remembers]
            slot_N, frame_N = places_of(own)
            conditioned = self._engine.attend(
                features.stride16_BCHW, self._bank, slot_N, frame_N, image_N[memory_N >= 0]
            )
        if (previous_N >= 0).any():
            before = [
                row.frame.logits[row.object_id][None]
                for row, kind in zip(rows, kinds, strict=True)
                if kind.previous
            ]
            previous = self._engine.calls.table("previous", before)
        tables = conditioned, previous, *features
        usual_N = np.zeros(len(rows)) if prediction is None else prediction.usual_area_N
        sources = _Sources(memory_N, previous_N, image_N, usual_N.astype(np.float32))
        calls: list[Call] = []
        for (kind, _), group in _groups(rows, kinds).items():
            if kind == TRACKED:
                calls += self.tracked_calls(group, self._arrays(sources, group), tables)
            elif kind == MASK:
                calls.append(
                    self._mask_call([rows[place] for place in group], group, sources, tables)
                )
            else:
                calls += self._prompt_calls(kind, rows, group, sources, tables)
        return MaskDecision(*self._engine.calls("decision", len(rows), calls))

    def tracked_calls(self, place_N: IntArray, arrays: Arrays, tables: Tables) -> list[Call]:
        """Calls for rows without a prompt."""
        memory_N, _, image_N, usual_area_N = arrays
        conditioned, _, *features = tables
        return self._engine.over_objects(
            "tracked",
            self._deciding.tracked,
            place_N,
            (memory_N, image_N, usual_area_N),
            (conditioned, *features),
        )

    def prompt_call(
        self,
        kind: Kind,
        place_N: IntArray,
        arrays: Arrays,
        points_NK2: npt.NDArray[np.float32],
        labels_NK: IntArray,
        positive_K: BoolArray | None,
        tables: Tables,
    ) -> Call:
        """A call for rows with equally many points; ``positive_K``: those to decode alone, too."""
        conditioned, previous, *features = tables
        positive: tuple[Array | None, ...] = (None, None)
        if positive_K is not None:
            positive = points_NK2[:, positive_K], labels_NK[:, positive_K]
        return Call(
            kind.name,
            partial(self._deciding.prompted, kind),
            place_N,
            len(place_N),
            (*arrays, points_NK2, labels_NK, *positive),
            (
                conditioned if kind.remembers else None,
                previous if kind.previous else None,
                *features,
            ),
            rare=True,
        )

    def _arrays(self, sources: _Sources, group: IntArray) -> Arrays:
        """The numbers of a group's rows; None for those of a table that holds just this group."""

        def own(every_N: IntArray) -> IntArray | None:
            whole = not self._engine.fixed and len(group) == (every_N >= 0).sum()
            return None if whole else every_N[group]

        return (
            own(sources.memory_N),
            own(sources.previous_N),
            sources.image_N[group],
            sources.usual_area_N[group],
        )

    def _prompt_calls(
        self,
        kind: Kind,
        rows: Sequence[Row],
        group: IntArray,
        sources: _Sources,
        tables: Tables,
    ) -> Iterator[Call]:
        """Calls for rows with equally many points.

        Those of fixed shapes have one row, so that there are few of them. So have those whose
        positive points are decoded alone, too.
        """
        prompts = [prompt for place in group if (prompt := rows[place].prompt) is not None]
        points_N = np.stack([prompt.points_K2 for prompt in prompts])
        labels_N = np.stack([prompt.labels_K for prompt in prompts])
        lone_N = (labels_N == 1).any(axis=1) & (labels_N == 0).any(axis=1)
        lone_N &= self._policy is not None
        alone_N = lone_N | self._engine.fixed
        parts = [np.flatnonzero(~alone_N), *np.flatnonzero(alone_N)[:, None]]
        for part in parts:
            if not len(part):
                continue
            yield self.prompt_call(
                kind,
                group[part],
                self._arrays(sources, group[part]),
                points_N[part],
                labels_N[part],
                labels_N[part[0]] > 0 if lone_N[part[0]] else None,
                tables,
            )

    def _mask_call(
        self, rows: Sequence[Row], group: IntArray, sources: _Sources, tables: Tables
    ) -> Call:
        prompts = [row.prompt for row in rows if row.prompt is not None]
        masks_1SS = [prompt.mask_1SS for prompt in prompts if prompt.mask_1SS is not None]
        mask_N1SS = sent(torch.stack(masks_1SS), self._device)
        iou_N = np.array([prompt.mask_iou for prompt in prompts], np.float32)
        return Call(
            "mask",
            self._deciding.masked,
            group,
            len(group),
            (sources.image_N[group], iou_N),
            (mask_N1SS, *tables[2:]),
            rare=True,
        )


class _Sources(NamedTuple):
    """What the rows of a batch are decided from.

    ``memory_N``, ``previous_N``: rows of the tables of conditioned frames and of previous masks; -1
    without one. ``usual_area_N``: see ``Prediction``.
    """

    memory_N: IntArray
    previous_N: IntArray
    image_N: IntArray
    usual_area_N: Array


def _numbered(which: Sequence[bool]) -> IntArray:
    """0, 1, … for those that are set, -1 for the others."""
    return np.where(which, np.cumsum(which) - 1, -1)


def _groups(rows: Sequence[Row], kinds: Sequence[Kind]) -> dict[tuple[Kind, int], IntArray]:
    """Places of rows by kind and number of points, which cannot be padded.

    A padding token is attended to like any other and would change the result.
    """
    groups: dict[tuple[Kind, int], list[int]] = defaultdict(list)
    for place, (row, kind) in enumerate(zip(rows, kinds, strict=True)):
        groups[kind, 0 if row.prompt is None else len(row.prompt.labels_K)].append(place)
    return {key: np.array(places) for key, places in groups.items()}
