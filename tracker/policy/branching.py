"""Paths begin and end: within the bank's spare slots, and each session's share of these.

Dimensions: O objects, N rows, which are their paths.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tracker.host_arrays import on_device
from tracker.memory.frame_columns import BoolArray
from tracker.memory.places import IntArray
from tracker.memory.records import (
    Facts,
    Kept,
    Selection,
)
from tracker.policy.decision import Decision
from tracker.policy.hypotheses import PathEvidence, agreed_for, ambiguous, ended
from tracker.policy.outlook import Evidence, Outlook, moved
from tracker.policy.paths import Paths
from tracker.policy.rivals import Rival
from tracker.policy.robust_bank import RobustBank

if TYPE_CHECKING:
    from tracker.sessions.session import Session
    from tracker.step.row_decider import Row

Encode = Callable[["list[Row]", Decision], Tensor]
"""Makes spatial memories (N, L, c) of rows that were decided like this."""


After = Callable[[Facts, Evidence, IntArray, BoolArray, BoolArray], tuple[Selection, Facts]]
"""What a frame leaves of objects: facts before it, evidence, times, who was pointed at, and for
whom it is kept for ever -> where the frame goes, and facts after it."""


class Seen(NamedTuple):
    """A step as the host knows it, once the tracks are there."""

    paths: Paths
    outlook: Outlook
    decision: Decision
    evidence: Evidence
    standing: PathEvidence


class Branching:
    """Remembers a step in which objects may be followed along several paths."""

    def __init__(self, most: int, bank: RobustBank, after: After, device: torch.device) -> None:
        """``most``: paths of one object. ``after``: the policy's own rules."""
        self._most = most
        self._bank = bank
        self._after = after
        self._device = device

    def remember(self, seen: Seen, kept: Kept, encode: Encode) -> None:
        """Keep what there is; begin and end paths.

        A new path remembers what its parent did, and of this frame the rival's mask. Whatever may
        fail comes before a session hears of it.
        """
        paths, standing, facts_N = seen.paths, seen.standing, kept.facts_N
        places = self._granted(seen)
        facts_N["score"] = standing.score
        facts_N["agreed"] = agreed_for(paths, standing, facts_N["agreed"])
        parting_N = places[paths.count_N[places] == 1]
        facts_N["agreed"][parting_N] = 0
        facts_N["begun"][parting_N] = kept.frame_N[parting_N]
        over_N = ended(paths, standing, facts_N["agreed"], kept.frame_N - facts_N["begun"])
        slots: list[int] = []
        try:
            if len(places):
                other = self._along_rivals(seen, kept, places, encode)
                # One by one: what was taken before a failure goes back.
                slots.extend(map(self._bank.branch, kept.slot_N[places].tolist()))
                kept = _together(kept, other._replace(slot_N=np.array(slots)))
            self._bank.remember(*kept)
        except BaseException:
            self._bank.prune(slots)
            raise
        self._settle(
            paths, standing, over_N, kept.slot_N, dict(zip(places.tolist(), slots, strict=True))
        )

    def _granted(self, seen: Seen) -> IntArray:
        """The rows that branch: those that would, and for whom there is room.

        Policy: the closest contests first; nobody's path ends for another's. A session has as
        large a share of the spare slots as it may have of the objects, at least one, so that
        streams do not take each other's.
        """
        paths, bank = seen.paths, self._bank
        free_N = np.array([row.is_new and row.prompt is None for row in paths.rows])
        free_N &= (seen.evidence.visible > 0) & (seen.evidence.cut == 0)
        wanted_N = ambiguous(paths, seen.standing, seen.evidence.predicted_iou, free_N, self._most)
        left = bank.spare_slots
        used: Counter[Session] = Counter()
        granted: list[int] = []
        for place in wanted_N.tolist():  # contests are rare
            session = paths.rows[place].session
            share = max(1, bank.spare * session.max_objects // bank.capacity)
            if len(granted) < left and session.branches + used[session] < share:
                granted.append(place)
                used[session] += 1
        return np.array(sorted(granted), np.int64)

    def _along_rivals(self, seen: Seen, kept: Kept, places: IntArray, encode: Encode) -> Kept:
        """What some rows' objects would remember had their rivals been chosen."""
        assert seen.decision.rival is not None
        place_n = on_device(places, self._device)
        rival = Rival(*(column[place_n] for column in seen.decision.rival))
        sure_n = torch.ones_like(rival.predicted_iou_N)
        decision = Decision(
            rival.logits_N1hw,
            rival.predicted_iou_N,
            seen.decision.object_score_logit_N[place_n],
            sure_n > 0,
            rival.pointer_NC,
            sure_n < 0,
            sure_n,
        )
        outlook = seen.outlook.of(places.tolist())
        standing, time_n = seen.standing, kept.frame_N[places]
        iou_n, one_n = standing.rival_iou[places], np.ones(len(places))
        evidence = Evidence(*(column[places] for column in seen.evidence))._replace(
            predicted_iou=iou_n, area=standing.rival_area[places], near=one_n, alone_iou=one_n
        )
        nobody_n = np.zeros(len(places), np.bool_)
        selection, facts_n = self._after(outlook.facts_N, evidence, time_n, nobody_n, nobody_n)
        ahead_n = np.log(iou_n / np.maximum(seen.evidence.predicted_iou[places], 1e-6))
        facts_n["score"] = standing.score[places] + ahead_n
        facts_n["agreed"], facts_n["begun"] = 0, time_n
        return Kept(
            kept.slot_N[places],
            time_n,
            selection,
            encode([seen.paths.rows[place] for place in places.tolist()], decision),
            rival.pointer_NC,
            moved(outlook, decision).state_N45,
            facts_n,
        )

    def _settle(
        self,
        paths: Paths,
        standing: PathEvidence,
        over_N: BoolArray,
        slot_N: IntArray,
        new: dict[int, int],
    ) -> None:
        """Let sessions follow what is left, the best path first; slots of what ended go back.

        ``new``: the slot of the path that began at a row.
        """
        several_N = paths.count_N > 1
        several_N[list(new)] = True
        for owner in np.unique(paths.owner_N[several_N]).tolist():  # few, by the budget
            rows = np.flatnonzero(paths.owner_N == owner)
            rank_n = standing.score[rows] + np.where(standing.best[rows] > 0, np.inf, 0)
            rows = rows[np.argsort(-rank_n, kind="stable")]
            slots = [int(slot_N[place]) for place in rows if not over_N[place]]
            slots += [new[place] for place in rows.tolist() if place in new]
            first = paths.rows[int(rows[0])]
            first.session.follow(first.object_id, tuple(slots))
            self._bank.prune([int(slot_N[place]) for place in rows if over_N[place]])


def only_the_best(session: Session, object_id: int, bank: RobustBank) -> None:
    """End all paths of an object but the one that is shown."""
    best, *others = session.paths_of(object_id)
    session.follow(object_id, (best,))
    bank.prune(others)


def _together(one: Kept, other: Kept) -> Kept:
    """The rows of both, one after the other."""
    return Kept(
        np.concatenate((one.slot_N, other.slot_N)),
        np.concatenate((one.frame_N, other.frame_N)),
        Selection(*map(np.concatenate, zip(one.selection, other.selection, strict=True))),
        torch.cat((one.spatial_NLc, other.spatial_NLc)),
        torch.cat((one.pointer_NC, other.pointer_NC)),
        torch.cat((one.motion_N45, other.motion_N45)),
        np.concatenate((one.facts_N, other.facts_N)),
    )
