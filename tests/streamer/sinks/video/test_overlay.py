"""The drawn picture: what is touched, in which colours, at which size."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from streamer.sinks.video.canvas import canvas_size, render
from streamer.sinks.video.labels import LONGEST_LABEL, label_picture, label_text
from streamer.sinks.video.palette import PALETTE, colour_of, text_colour
from streamer.sinks.video.trails import POINTS_PER_TRAIL, Trails
from streamer.sinks.video.view import Scene, View
from streamer.types import FrameResult
from tests.streamer.sinks.video.scenes import HEIGHT, WIDTH, box_of, frame_result, seen, unseen
from tracker.types import TrackState


def scene(result: FrameResult, *before: FrameResult) -> Scene:
    trails = Trails(2.0)
    for each in (*before, result):
        trails.observe(each)
    return Scene(result, trails.of_objects())


def changed(result: FrameResult, *before: FrameResult) -> np.ndarray:
    """Which pixels of the frame are drawn over."""
    drawn = render(scene(result, *before), View.OVERLAY, WIDTH)
    clean = render(scene(result, *before), View.CLEAN, WIDTH)
    return (drawn != clean).any(axis=2)


def test_mask_is_tinted_and_the_rest_stays() -> None:
    result = frame_result(0)
    touched = changed(result)
    x0, y0, x1, y1 = box_of(0)
    assert touched[y0:y1, x0:x1].all()
    assert not touched[y1 + 4 :].any()
    assert not touched[:, x1 + 40 :].any()


def test_the_cameras_picture_is_never_written_to() -> None:
    result = frame_result(0, label="keeper")
    before = hashlib.sha256(result.frame.picture.pixels.rgb().tobytes()).digest()
    for view in View:
        render(scene(result), view, WIDTH)
        render(scene(result), view, 128)
    assert hashlib.sha256(result.frame.picture.pixels.rgb().tobytes()).digest() == before


def test_clean_picture_that_fits_is_not_copied() -> None:
    result = frame_result(0)
    assert np.shares_memory(
        render(scene(result), View.CLEAN, WIDTH), result.frame.picture.pixels.rgb()
    )


def test_own_colour_is_used() -> None:
    canvas = render(scene(frame_result(0, colour="#ff00ff")), View.OVERLAY, WIDTH)
    assert (canvas == (255, 0, 255)).all(axis=2).any()
    assert colour_of(1, None) == PALETTE[0]
    assert colour_of(8, None) == PALETTE[0]


def test_hidden_object_has_a_dashed_box_where_it_was_and_no_fill() -> None:
    before = frame_result(0)
    touched = changed(frame_result(1, (unseen(1),)), before)
    x0, y0, x1, y1 = box_of(0)
    edge = touched[y1, x0:x1]
    assert edge.any()
    assert not edge.all()
    assert not touched[y0 + 8 : y1 - 8, x0 + 12 : x1 - 12].any()


def test_lost_object_is_not_drawn() -> None:
    lost = frame_result(9, (unseen(1, TrackState.LOST),))
    far_before = frame_result(0, arrival_ns=0)
    assert not changed(lost, far_before).any()


def test_trail_shows_where_the_object_was_and_ends_with_its_time() -> None:
    way = [frame_result(index) for index in range(30)]
    x0, y0, x1, y1 = box_of(0)
    behind = (slice((y0 + y1) // 2 - 2, (y0 + y1) // 2 + 3), slice((x0 + x1) // 2, x1))
    assert changed(way[-1], *way[:-1])[behind].any()
    late = frame_result(29, arrival_ns=way[-1].frame.picture.arrival_monotonic_ns + 10**10)
    assert not changed(late, *way[:-1])[behind].any()


def test_trails_are_bounded_and_forget_objects_that_are_gone() -> None:
    trails = Trails(60.0)
    for index in range(2000):
        trails.observe(frame_result(index % 1024, (seen(1, index),), arrival_ns=index * 10**7))
    assert len(trails.of_objects()[1].points) <= POINTS_PER_TRAIL
    trails.observe(frame_result(1, ()))
    assert trails.of_objects() == {}


def test_trails_begin_anew_when_the_size_changes() -> None:
    trails = Trails(2.0)
    trails.observe(frame_result(0))
    trails.observe(frame_result(1, (unseen(1, width=640, height=360),), width=640, height=360))
    assert trails.of_objects() == {}


@pytest.mark.parametrize(
    ("size", "maximum", "sent"),
    [
        ((1920, 1080), 1280, (1280, 720)),
        ((640, 360), 1280, (640, 360)),
        ((641, 361), 1280, (640, 360)),
        ((1366, 768), 1280, (1280, 720)),
        ((1001, 3), 500, (500, 16)),
        ((5, 4000), 1280, (16, 4000)),
    ],
)
def test_sent_size_is_even_and_not_too_wide(
    size: tuple[int, int], maximum: int, sent: tuple[int, int]
) -> None:
    assert canvas_size(*size, maximum) == sent


@pytest.mark.parametrize("size", [(641, 361), (1921, 1081), (33, 47), (17, 16)])
@pytest.mark.parametrize("view", list(View))
def test_odd_sizes_are_drawn(size: tuple[int, int], view: View) -> None:
    width, height = size
    result = frame_result(1, width=width, height=height, label="keeper")
    canvas = render(scene(result, frame_result(0, width=width, height=height)), view, 1280)
    assert canvas.shape[:2] == canvas_size(width, height, 1280)[::-1]


def test_objects_at_every_edge_are_drawn_inside_the_picture() -> None:
    corners = [(0, 0), (WIDTH - 3, 0), (0, HEIGHT - 3), (WIDTH - 3, HEIGHT - 3)]
    tracks = tuple(
        replace(
            seen(number, 0),
            box_xyxy=(x, y, x + 3, y + 3),
            crop=np.ones((3, 3), dtype=np.bool_),
            area=9,
        )
        for number, (x, y) in enumerate(corners, 1)
    )
    for width in (WIDTH, 100):
        canvas = render(scene(frame_result(0, tracks, label="keeper")), View.OVERLAY, width)
        assert canvas.shape[1] == width


def test_names_of_objects_that_overlap_do_not_cover_each_other() -> None:
    one, other = seen(1, 0), seen(2, 0)
    touched = changed(frame_result(0, (one, other), label="keeper"))
    _, y0, _, y1 = box_of(0)
    assert touched[:y0].any()
    assert touched[y1 + 5 :].any()


def test_labels_are_shortened_and_readable() -> None:
    assert label_text(7, None) == "7"
    assert label_text(7, "keeper") == "7 keeper"
    assert len(label_text(7, "x" * 200)) == 2 + LONGEST_LABEL
    assert text_colour((240, 228, 66)) == (0, 0, 0)
    assert text_colour((0, 114, 178)) == (255, 255, 255)
    for text in ("7 Zoë", "7 Łukasz", "7 守門員", "7 🦊"):
        assert label_picture(text, (0, 0, 0), 14).max() > 128


def test_mask_scaled_away_to_nothing_is_no_error() -> None:
    tiny = replace(
        seen(1, 0), box_xyxy=(50, 50, 51, 51), crop=np.ones((1, 1), dtype=np.bool_), area=1
    )
    render(scene(frame_result(0, (tiny,))), View.OVERLAY, 64)
