import numpy as np
import pytest

from tracker.pictures.point_grids import Crop, crops_of, layered_grids, point_grid


def test_points_are_the_centres_of_equal_cells_row_by_row() -> None:
    np.testing.assert_allclose(
        point_grid(2), [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]
    )


def test_deeper_layers_have_fewer_points_but_one_at_least() -> None:
    assert [len(grid) for grid in layered_grids(8, 4, 3)] == [64, 4, 1, 1, 1]


def test_crops_of_the_reference() -> None:
    """As `sam2` 1.1.0 computes them for 440 × 300 pixels."""
    assert crops_of(300, 440, 1, 512 / 1500) == [
        Crop((0, 0, 440, 300), 0),
        Crop((0, 0, 271, 201), 1),
        Crop((0, 99, 271, 300), 1),
        Crop((169, 0, 440, 201), 1),
        Crop((169, 99, 440, 300), 1),
    ]
    second = [crop for crop in crops_of(300, 440, 2, 512 / 1500) if crop.layer == 2]
    assert len(second) == 16
    assert second[5] == Crop((98, 63, 247, 177), 2)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 300), (5, 5)])
def test_every_crop_of_a_tiny_picture_has_pixels(height: int, width: int) -> None:
    for crop in crops_of(height, width, 4, 0.3):
        x0, y0, x1, y1 = crop.box_xyxy
        assert 0 <= x0 < x1 <= width
        assert 0 <= y0 < y1 <= height
