"""Each pixel of a picture belongs to one of its things."""

from __future__ import annotations

import numpy as np

from tracker.pictures.apart import Owners


def test_the_highest_logit_owns_a_pixel_and_no_mask_grows() -> None:
    logits = np.random.default_rng(3).normal(0, 4, (5, 7, 9)).astype(np.float32)
    owners = Owners(7, 9)
    for each in logits:
        owners.add(each)
    found = np.stack([owners.mask(place) for place in range(5)])
    np.testing.assert_array_equal(found.sum(axis=0), (logits > 0).any(axis=0))
    np.testing.assert_array_equal(
        found.argmax(axis=0)[found.any(axis=0)], logits.argmax(axis=0)[found.any(axis=0)]
    )
    assert not (found & (logits <= 0)).any()


def test_an_object_alone_and_the_first_of_two_alike_keep_their_mask() -> None:
    mask = np.array([[3.0, -2.0], [0.0, 5.0]], np.float32)
    owners = Owners(2, 2)
    owners.add(mask)
    owners.add(mask)
    np.testing.assert_array_equal(owners.mask(0), mask > 0)
    assert not owners.mask(1).any()
