"""Blobs over textures: deterministic, with correct masks."""

from __future__ import annotations

import numpy as np

from tracker.scenes import Shapes


def test_same_seed_gives_the_same_pixels() -> None:
    left, right = Shapes(4, 160, 90).render(17), Shapes(4, 160, 90).render(17)
    np.testing.assert_array_equal(left.image, right.image)
    assert left.boxes == right.boxes


def test_later_blobs_cover_earlier_ones() -> None:
    scene = Shapes(4, 160, 90, count=4)
    top = scene.object_ids[-1]
    overlapped = set()
    for index in range(0, 300, 10):
        frame = scene.render(index)
        assert sum(frame.masks.values()).max() <= 1  # type: ignore[union-attr]
        x0, _, x1, _ = frame.boxes[top]
        if x0 > 0 and x1 < 160 and frame.visible[top]:
            assert frame.visible_fraction[top] > 0.97
        overlapped |= {key for key, fraction in frame.visible_fraction.items() if fraction < 0.7}
    assert overlapped - {top}


def test_look_alikes_share_texture_and_outline() -> None:
    frame = Shapes(6, 160, 90, count=3, look_alikes=True).render(0)
    colours = [frame.image[mask].mean(axis=0) for mask in frame.masks.values() if mask.any()]
    assert len(colours) >= 2
    assert np.abs(colours[0] - colours[1]).max() < 40
