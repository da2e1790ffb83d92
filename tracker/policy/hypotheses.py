"""Several paths of an object while it is ambiguous which of two things it is.

After SAM2Long (Ding et al. 2024, "SAM2Long: Enhancing SAM 2 for long video segmentation with a
training-free memory tree"): each path has its own memories, a path's score is the sum of the
logarithms of what it was sure of on its frames, and the best path's mask is shown. Unlike there,
an object has one path as long as its masks do not contradict one another; scores fade, so that
an object of an endless stream is not held to what was long ago; where other objects are counts.

Where a path branches is decided at the end of the step that is ambiguous, from numbers which the
host gets with the tracks anyway: the host waits for nothing, and no frame goes by in between.
Which path is shown is decided on the device.

Dimensions: O objects, N paths of all of them, K paths of an object, L cells compared.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from tracker.host_arrays import on_device
from tracker.memory.frame_columns import BoolArray
from tracker.memory.places import IntArray
from tracker.policy.rivals import DISAGREE_IOU

if TYPE_CHECKING:
    from tracker.policy.decision import Decision
    from tracker.policy.paths import Paths

# A path branches where the rival's predicted IoU is at least this, and at most so much lower.
RIVAL_IOU, RIVAL_MARGIN = 0.4, 0.15
# Of a path's score so much is left after a frame.
SCORE_FADES = 0.95
# Not to see an object that the network calls gone counts as much as a mask of this predicted IoU.
UNSEEN_IOU = 0.5
LEAST_CHANCE = 0.02
# What another path must be ahead by to be shown instead.
LEAD = 0.1
# A path ends when it is this far behind, or has not come to lead after so many frames.
FAR_BEHIND, LONGEST_FRAMES = 2.0, 40
# Two paths are one when their masks overlapped by this on so many frames in a row.
AGREE_IOU, AGREE_FRAMES = 0.7, 3
# Masks are compared on a grid of at most this side.
COMPARED_SIDE = 64


class Standing(NamedTuple):
    """How the paths of a step do, on the device.

    ``best_O``: the row of each object that is shown; None where every object has one path.
    ``columns_NE``: what the host needs of them, see ``PathEvidence``.
    """

    best_O: Tensor | None
    columns_NE: Tensor


class PathEvidence(NamedTuple):
    """The columns of ``Standing.columns_NE``, on the host.

    ``score``: with what is left of the past. ``agreement``: IoU with the path that led so far.
    ``overlap``: the largest IoU of the rival with any path of its object.
    """

    best: npt.NDArray[np.float64]
    score: npt.NDArray[np.float64]
    agreement: npt.NDArray[np.float64]
    overlap: npt.NDArray[np.float64]
    rival_iou: npt.NDArray[np.float64]
    rival_area: npt.NDArray[np.float64]


def stand(
    paths: Paths,
    decision: Decision,
    visible_N: Tensor,
    stream_N: Tensor,
    past_N: npt.NDArray[np.float64],
) -> Standing:
    """Weigh the paths of a step. ``past_N``: their scores after the frame before."""
    rival = decision.rival
    assert rival is not None, "hypotheses without a rival"
    device = visible_N.device
    there_N = decision.object_score_logit_N.sigmoid()
    chance_N = torch.where(
        visible_N, there_N * decision.predicted_iou_N, (1 - there_N) * UNSEEN_IOU
    )
    agreement_N, overlap_N = torch.ones_like(chance_N), rival.overlap_N
    best_O = None
    if paths.branched:
        owner_N = on_device(paths.owner_N, device)
        first_N = on_device(paths.first_N, device)
        mask_NL, rival_NL = _cells(decision.logits_N1hw), _cells(rival.logits_N1hw)
        area_N = mask_NL.sum(dim=1)
        common_NN = mask_NL @ mask_NL.T
        iou_NN = common_NN / (area_N[:, None] + area_N - common_NN).clamp(min=1)
        same_NN = owner_N[:, None] == owner_N
        led_by_NN = same_NN & first_N
        hidden_NN = (area_N[:, None] + area_N) == 0
        agreement_N = torch.where(hidden_NN, 1.0, iou_NN).masked_fill(~led_by_NN, 0).amax(dim=1)
        # Another object's path, surer of the place than this one, takes it away.
        sure_N = decision.predicted_iou_N * visible_N
        rivals_NN = (stream_N[:, None] == stream_N) & ~same_NN & first_N
        rivals_NN = rivals_NN & (sure_N > decision.predicted_iou_N[:, None])
        taken_NN = common_NN / area_N.clamp(min=1)[:, None]
        chance_N = chance_N * (1 - taken_NN.masked_fill(~rivals_NN, 0).amax(dim=1))
        rival_NN = rival_NL @ mask_NL.T
        rival_NN = rival_NN / (rival_NL.sum(dim=1)[:, None] + area_N - rival_NN).clamp(min=1)
        overlap_N = torch.maximum(overlap_N, rival_NN.masked_fill(~same_NN, 0).amax(dim=1))
    past = on_device((SCORE_FADES * past_N).astype(np.float32), device)
    score_N = past + chance_N.clamp(min=LEAST_CHANCE).log()
    if paths.branched:
        row_OK, real_OK = (on_device(each, device) for each in paths.table)
        score_OK = (score_N + LEAD * first_N)[row_OK].masked_fill(~real_OK, -math.inf)
        best_O = row_OK.gather(1, score_OK.argmax(dim=1, keepdim=True))[:, 0]
        shown_N = (best_O[owner_N] == torch.arange(len(score_N), device=device)).float()
    else:
        shown_N = torch.ones_like(score_N)
    rival_area_N = (rival.logits_N1hw > 0).flatten(1).float().mean(dim=1)
    columns = (shown_N, score_N, agreement_N, overlap_N, rival.predicted_iou_N, rival_area_N)
    return Standing(best_O, torch.stack([each.double() for each in columns], dim=1))


def ambiguous(
    paths: Paths,
    evidence: PathEvidence,
    predicted_iou_N: npt.NDArray[np.float64],
    free_N: BoolArray,
    most: int,
) -> IntArray:
    """Rows to branch off, the closest contests first.

    The best path of an object that has fewer than ``most``, where its rival lies elsewhere and
    is nearly as likely. ``free_N``: rows that may.
    """
    closer_N = evidence.rival_iou - predicted_iou_N
    branch_N = (
        (evidence.best > 0)
        & (paths.count_N < most)
        & (evidence.overlap < DISAGREE_IOU)
        & (evidence.rival_iou >= RIVAL_IOU)
        & (closer_N >= -RIVAL_MARGIN)
        & free_N
    )
    places = np.flatnonzero(branch_N)
    return places[np.argsort(-closer_N[places], kind="stable")]


def ended(
    paths: Paths, evidence: PathEvidence, agreed_N: IntArray, frames_N: IntArray
) -> BoolArray:
    """Paths that end: merged with a better one, far behind, or followed for long without leading.

    ``agreed_N``: for how many frames each has agreed with the one that led; ``frames_N``: how long
    it has been followed.
    """
    owner_N, score = paths.owner_N, evidence.score
    best_N = evidence.best > 0
    lead_O = score[best_N]
    over_N = (score < lead_O[owner_N] - FAR_BEHIND) | (frames_N > LONGEST_FRAMES)
    # All that agree with the one that led are one; of these the best stays.
    merged_N = (agreed_N >= AGREE_FRAMES) | paths.first_N
    rank_N = score + 1e6 * best_N
    top_O = np.full(paths.objects, -math.inf)
    np.maximum.at(top_O, owner_N[merged_N], rank_N[merged_N])
    ended_N: BoolArray = ~best_N & (over_N | (merged_N & (rank_N < top_O[owner_N])))
    return ended_N


def agreed_for(paths: Paths, evidence: PathEvidence, before_N: IntArray) -> IntArray:
    """For how many frames in a row each path has agreed with the one that leads now, the host's.

    Where another one has come to lead, this begins anew.
    """
    overtook_N = (evidence.best > 0) & ~paths.first_N
    changed_O = np.bincount(paths.owner_N[overtook_N], minlength=paths.objects)
    agrees_N = (evidence.agreement >= AGREE_IOU) & (changed_O[paths.owner_N] == 0)
    return np.where(agrees_N, before_N + 1, 0)


def _cells(logits_N1hw: Tensor) -> Tensor:
    """Masks made small, (M, L)."""
    shown = (logits_N1hw > 0).float()
    if shown.shape[-1] > COMPARED_SIDE:
        shown = F.adaptive_max_pool2d(shown, COMPARED_SIDE)
    return shown.flatten(1)
