"""Boxes, absences, flicker, calibration and identities against values worked out by hand."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest

from tracker.evaluation.absence import absence, in_sight, returns
from tracker.evaluation.box_measures import (
    box_distance,
    box_overlap,
    box_score,
    precision_curve,
    success_curve,
)
from tracker.evaluation.calibration import calibration
from tracker.evaluation.covering import covered
from tracker.evaluation.flicker import FlickerMeter, change_of_shape
from tracker.evaluation.identity import IdentityRecord, identity_score
from tracker.evaluation.missing import MissingLibraryError
from tracker.evaluation.switches import lies_elsewhere, switched


def square(y: int, x: int, side: int = 10, shape: tuple[int, int] = (60, 80)) -> np.ndarray:
    mask = np.zeros(shape, dtype=np.bool_)
    mask[max(0, y) : y + side, max(0, x) : x + side] = True
    return mask


NOTHING = square(0, 0, 0)


class TestBoxes:
    def test_overlap_of_shifted_boxes(self) -> None:
        assert box_overlap((0, 0, 10, 10), (5, 0, 15, 10)) == pytest.approx(1 / 3)
        assert box_overlap((0, 0, 10, 10), (10, 0, 20, 10)) == 0.0

    def test_distance_in_pixels_and_relative_to_the_object(self) -> None:
        found = box_distance((3, 8, 13, 18), (0, 0, 10, 20))
        # Centres (8, 13) and (5, 10): 3 and 3 pixels, 0.3 widths and 0.15 heights.
        assert found.centre_px == pytest.approx(math.hypot(3, 3))
        assert found.normalised == pytest.approx(math.hypot(0.3, 0.15))

    def test_a_missing_box_is_infinitely_far(self) -> None:
        assert box_distance(None, (0, 0, 10, 10)).centre_px == math.inf

    def test_success_counts_overlaps_above_each_threshold(self) -> None:
        # 0.52 exceeds 0, 0.05, ..., 0.5: 11 of 21 thresholds; 1.0 exceeds 20; 0 none.
        curve = success_curve([0.52, 1.0, 0.0])
        assert curve.sum() == pytest.approx((11 + 20) / 3)
        assert curve[0] == pytest.approx(2 / 3)

    def test_precision_counts_distances_up_to_each_threshold(self) -> None:
        curve = precision_curve([20.0, 20.5, math.inf], np.arange(51.0))
        assert curve[19] == 0.0
        assert curve[20] == pytest.approx(1 / 3)
        assert curve[50] == pytest.approx(2 / 3)

    def test_score_of_an_object(self) -> None:
        truth = (0.0, 0.0, 10.0, 10.0)
        score = box_score([box_distance(truth, truth), box_distance(None, truth)])
        assert score is not None
        assert score.success_auc == pytest.approx(20 / 21 / 2)
        assert score.precision == score.normalised_precision_auc == 0.5
        assert box_score([]) is None


class TestAbsence:
    areas = (100, 90, 0, 0, 0, 1, 50, 100, 90, 0, 0, 100)

    def test_a_return_is_found_when_the_mask_is_right(self) -> None:
        seen = in_sight(self.areas)
        assert seen.tolist() == [True, True, *[False] * 4, *[True] * 3, False, False, True]
        # Gone for 4 frames (the one pixel is no sight), found on the second frame of the return;
        # the second absence is too short to count.
        (only,) = returns(seen, [1, 1, 0, 0, 0, 0, 0.2, 0.6, 0.7, 0, 0, 1])
        assert (only.gone_frames, only.reacquired_after, only.watched) == (4, 1, 3)
        assert only.at_once is True

    def test_a_return_that_is_not_found(self) -> None:
        seen = np.array([1, 0, 0, 0, *[1] * 11], dtype=np.bool_)
        (late,) = returns(seen, [0.0] * 15)
        assert late.at_once is False
        (early,) = returns(seen[:-1], [0.0] * 14)  # ten frames: the next might have been right
        assert early.at_once is None

    def test_a_glimpse_is_no_return(self) -> None:
        seen = np.array([1, 0, 0, 0, 0, 1, 1, 0, 0, 0, 1, 1, 1], dtype=np.bool_)
        (only,) = returns(seen, [1.0] * 13)
        assert (only.gone_frames, only.watched) == (3, 3)

    def test_false_masks_during_an_absence(self) -> None:
        claims = absence(self.areas, (99, 90, 30, 0, 0, 0, 50, 100, 90, 60, 0, 100))
        assert claims is not None
        # Five frames without a pixel: 30 + 60 pixels on them, of an object of 90 (the median of
        # 100, 90, 1, 50, 100, 90, 100).
        assert claims.frames == 5
        assert claims.claimed == pytest.approx(2 / 5)
        assert claims.false_area == pytest.approx(90 / 5 / 90)

    def test_an_object_that_stays_has_no_absence(self) -> None:
        assert absence((10, 10), (10, 10)) is None


class TestFlicker:
    def test_motion_is_no_change(self) -> None:
        assert change_of_shape(square(10, 10), square(25, 40)) == 0.0

    def test_growth_is_change(self) -> None:
        # From 10x10 to 12x12 around one centre: 100 shared of 144.
        assert change_of_shape(square(11, 11), square(10, 10, 12)) == pytest.approx(1 - 100 / 144)

    def test_only_change_beyond_the_object_counts(self) -> None:
        meter = FlickerMeter()
        small, large = square(11, 11), square(10, 10, 12)
        meter.add(small, small)
        meter.add(large, large)  # as the object does
        meter.add(small, large)  # the object stays
        assert meter.mean == pytest.approx((0 + 1 - 100 / 144) / 2)

    def test_frames_without_a_mask_or_annotation_are_skipped(self) -> None:
        meter = FlickerMeter()
        for mask in (square(0, 0), NOTHING, square(0, 0)):
            meter.add(mask, square(0, 0))
        meter.skip()
        meter.add(square(20, 20, 20), square(0, 0))
        assert meter.mean is None


class TestCalibration:
    def test_two_bins_by_hand(self) -> None:
        result = calibration([0.72, 0.78, 0.95, 1.0], [0.5, 0.7, 0.9, 1.0])
        assert result is not None
        low, high = result.bins
        assert (low.low, low.count, high.low, high.count) == (0.7, 2, 0.9, 2)
        assert low.predicted == pytest.approx(0.75)
        assert low.actual == pytest.approx(0.6)
        # |0.75 - 0.6| and |0.975 - 0.95|, two masks each.
        assert result.error == pytest.approx((2 * 0.15 + 2 * 0.025) / 4)

    def test_no_masks(self) -> None:
        assert calibration([], []) is None
        with pytest.raises(ValueError, match="1 predictions for 0 masks"):
            calibration([0.5], [])


class TestSwitches:
    def test_a_mask_on_another_object(self) -> None:
        own, other = square(0, 0), square(0, 40)
        assert lies_elsewhere(other, own, [other])
        assert not lies_elsewhere(own, own, [other])
        assert not lies_elsewhere(square(40, 40), own, [other])  # on no object
        assert not lies_elsewhere(other, NOTHING, [other])  # its own object is absent

    def test_a_switch_lasts_ten_frames(self) -> None:
        assert switched([False, *[True] * 10])
        assert not switched([*[True] * 9, False, *[True] * 9])


class TestCovering:
    def test_the_share_of_the_object_that_is_covered_most(self) -> None:
        beside, below = square(0, 10), square(10, 0, 20)
        # 3 of 10 columns of the first, nothing of the second.
        assert covered(square(0, 3), [beside, below]) == pytest.approx(0.3)
        assert covered(square(0, 0), [beside, below]) == 0.0
        assert covered(square(0, 0, 40), [beside]) == 1.0
        assert covered(NOTHING, [beside]) == 0.0

    def test_hidden_objects_and_specks_do_not_count(self) -> None:
        speck = square(0, 0, 1)  # 1 pixel of 4800
        assert covered(square(0, 0), [NOTHING, speck]) is None
        assert covered(square(0, 0), []) is None


class TestIdentity:
    @staticmethod
    def record(frames: list[tuple[list[int], list[int], list[list[float]]]]) -> IdentityRecord:
        result = IdentityRecord()
        for true_ids, found_ids, similarity in frames:
            shape = (len(true_ids), len(found_ids))
            result.add(true_ids, found_ids, np.array(similarity).reshape(shape))
        return result

    def test_perfect(self) -> None:
        score = identity_score([self.record([([7, 9], [7, 9], [[1, 0], [0, 1]])] * 4)])
        assert score is not None
        assert (score.hota, score.mota, score.idf1, score.switches) == (1.0, 1.0, 1.0, 0)

    def test_two_tracks_exchange_their_objects_midway(self) -> None:
        right, wrong = ([1, 2], [1, 2], [[1, 0], [0, 1]]), ([1, 2], [1, 2], [[0, 1], [1, 0]])
        score = identity_score([self.record([right] * 2 + [wrong] * 2)])
        assert score is not None
        # All 8 found, 2 switches: MOTA 1 - 2/8. Half of each track is right: IDF1 1/2. Each match
        # shares 2 of 4 + 4 - 2 frames with its object: AssA 1/3; HOTA is its root.
        assert score.detection == pytest.approx(1.0)
        assert score.mota == pytest.approx(0.75)
        assert score.idf1 == pytest.approx(0.5)
        assert score.association == pytest.approx(1 / 3)
        assert score.hota == pytest.approx(math.sqrt(1 / 3))
        assert score.switches == 2

    def test_half_overlap_counts_up_to_its_threshold(self) -> None:
        score = identity_score([self.record([([1], [1], [[0.5]])] * 3)])
        assert score is not None
        # Matched at 0.05, ..., 0.5: 10 of 19 thresholds.
        assert score.hota == pytest.approx(10 / 19)

    def test_no_score_without_ground_truth(self) -> None:
        assert identity_score([self.record([([], [3], [])])]) is None

    def test_a_matrix_of_the_wrong_size_is_refused(self) -> None:
        with pytest.raises(ValueError, match=r"similarity must be \(1, 1\), got \(2, 2\)"):
            IdentityRecord().add([1], [1], np.zeros((2, 2)))

    def test_without_trackeval_the_error_has_the_remedy(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "trackeval", None)
        with pytest.raises(MissingLibraryError, match="pip install --no-deps trackeval"):
            identity_score([self.record([([1], [1], [[1.0]])])])
