"""The motion starter on rendered pictures: what moves is found, a moving camera is noticed."""

from __future__ import annotations

import numpy as np
import pytest

from streamer.errors import DetectorNotReady
from streamer.starters.geometry import iou
from streamer.starters.motion import LEARNING_PASSES, PATIENCE_PASSES, MotionDetector
from tracker.scenes.match import Match

WIDTH, HEIGHT = 320, 180


@pytest.fixture(scope="module")
def street() -> np.ndarray:
    """A picture with texture everywhere, wider than the camera's."""
    noise = np.random.default_rng(1).integers(60, 180, (HEIGHT // 6, 100, 3), dtype=np.uint8)
    return np.kron(noise, np.ones((6, 6, 1), dtype=np.uint8))


def view(
    street: np.ndarray, shift: int = 0, box: tuple[int, int, int, int] | None = None
) -> np.ndarray:
    image = np.ascontiguousarray(street[:HEIGHT, 100 + shift : 100 + shift + WIDTH])
    if box is not None:
        x0, y0, x1, y1 = box
        image[y0:y1, x0:x1] = (250, 240, 30)
    return image


def learned(street: np.ndarray) -> MotionDetector:
    starter = MotionDetector()
    for _ in range(LEARNING_PASSES):
        with pytest.raises(DetectorNotReady, match="learning the background"):
            starter(view(street))
    return starter


def car(pass_index: int) -> tuple[int, int, int, int]:
    return 20 + 12 * pass_index, 60, 80 + 12 * pass_index, 100


def test_thing_that_moves_before_a_fixed_camera_is_found(street: np.ndarray) -> None:
    starter = learned(street)
    for pass_index in range(8):
        (found,) = starter(view(street, box=car(pass_index)))
        assert iou(found.box_xyxy, car(pass_index)) > 0.7
        assert (found.label, found.score) == (None, 1.0)
    assert list(starter(view(street))) == []


def test_starter_does_not_modify_the_picture(street: np.ndarray) -> None:
    starter = learned(street)
    image = view(street, box=car(0))
    image.flags.writeable = False
    assert len(starter(image)) == 1


def test_place_that_something_left_is_no_thing(street: np.ndarray) -> None:
    starter = MotionDetector()
    for _ in range(LEARNING_PASSES + 1):
        try:
            starter(view(street, box=car(0)))
        except DetectorNotReady:
            continue
    starter(view(street, box=car(6)))  # the place changed just now
    for pass_index in range(7, 15):
        found = starter(view(street, box=car(pass_index)))
        assert [iou(each.box_xyxy, car(pass_index)) > 0.7 for each in found] == [True]


def test_moving_camera_pauses_the_starter_until_it_has_relearned(
    street: np.ndarray,
) -> None:
    starter = learned(street)
    for pass_index in range(1, 6):
        with pytest.raises(DetectorNotReady, match="the camera moves"):
            starter(view(street, shift=8 * pass_index))
    for _ in range(LEARNING_PASSES):
        with pytest.raises(DetectorNotReady, match="learning"):
            starter(view(street, shift=40))
    assert list(starter(view(street, shift=40))) == []


def test_slow_pan_adds_up(street: np.ndarray) -> None:
    starter = learned(street)
    reasons = []
    for pass_index in range(30):
        try:
            starter(view(street, shift=pass_index // 2))
        except DetectorNotReady as error:
            reasons.append(str(error))
    assert any("the camera moves" in each for each in reasons)


def test_picture_of_another_size_is_learned_anew(street: np.ndarray) -> None:
    """Cameras and browsers change it while they are connected."""
    starter = learned(street)
    narrow = np.ascontiguousarray(view(street)[:, : WIDTH // 2])
    for _ in range(1 + LEARNING_PASSES):
        with pytest.raises(DetectorNotReady):
            starter(narrow)
    moving = narrow.copy()
    moving[60:100, 40:80] = (250, 240, 30)
    (found,) = starter(moving)
    assert iou(found.box_xyxy, (40, 60, 80, 100)) > 0.7


def test_other_exposure_is_no_motion(street: np.ndarray) -> None:
    starter = learned(street)
    darker = (view(street) * 0.7).astype(np.uint8)
    assert list(starter(darker)) == []


def test_what_covers_most_of_the_picture_is_waited_for_and_learned_in_the_end(
    street: np.ndarray,
) -> None:
    starter = learned(street)
    wall = np.tile(
        np.array([[250, 20, 20], [20, 20, 250]], dtype=np.uint8), (HEIGHT, WIDTH // 2, 1)
    )
    for _ in range(PATIENCE_PASSES):
        with pytest.raises(DetectorNotReady, match="most of the picture changed"):
            starter(wall)
    with pytest.raises(DetectorNotReady, match="learning"):
        starter(wall)


def test_players_of_a_match_are_found_without_weights() -> None:
    match, starter = Match(1, 320, 180, occluders=0), MotionDetector()
    found_players = players = 0
    for index in range(0, 200, 5):
        scene = match.render(index)
        try:
            found = starter(scene.image)
        except DetectorNotReady:
            continue
        for object_id, box in scene.boxes.items():
            if box is not None and object_id != match.ball_id:
                players += 1
                found_players += any(iou(each.box_xyxy, box) > 0.4 for each in found)
    assert players > 100
    assert found_players > 0.5 * players
