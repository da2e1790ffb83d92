"""A prepared image gives the same tracks as the image itself, bit for bit."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.tracker.little import IMAGE_SIZE, LITTLE, click, little_picture, little_tracker
from tracker import Track


def assert_equal(ours: Track, theirs: Track) -> None:
    assert ours.logits is not None
    assert theirs.logits is not None
    np.testing.assert_array_equal(ours.logits, theirs.logits)
    np.testing.assert_array_equal(ours.mask, theirs.mask)
    assert ours.object_score == theirs.object_score
    assert (ours.frame_height, ours.frame_width) == (theirs.frame_height, theirs.frame_width)


@pytest.mark.parametrize("size", [(IMAGE_SIZE, IMAGE_SIZE), (45, 80)])
def test_a_frame_prepared_in_another_thread_is_tracked_the_same(size: tuple[int, int]) -> None:
    tracker = little_tracker()
    plain, ready = tracker.open_session(), tracker.open_session()
    pictures = [little_picture(index, *size) for index in range(4)]
    with ThreadPoolExecutor(2) as threads:
        prepared = list(threads.map(tracker.prepare, pictures))
    for index, picture in enumerate(pictures):
        prompts = [click(1)] if index == 0 else []
        ((own,),) = tracker.step([(plain, picture, prompts)])
        ((other,),) = tracker.step([(ready, prepared[index], prompts)])
        assert_equal(other, own)


def test_prepared_and_plain_images_share_a_batch() -> None:
    tracker = little_tracker()
    one, other = tracker.open_session(), tracker.open_session()
    picture = little_picture(3, 40, 90)
    (first,), (second,) = tracker.step(
        [(one, picture, [click(1)]), (other, tracker.prepare(picture), [click(1)])]
    )
    assert_equal(first, second)


def test_a_prepared_image_of_the_history_is_encoded_again() -> None:
    tracker = little_tracker()
    pictures = [little_picture(index, 50, 70) for index in range(4)]
    corrected = []
    for prepare in (lambda picture: picture, tracker.prepare):
        session = tracker.open_session(history_frames=4)
        for picture in pictures:  # no object: nothing is encoded
            tracker.step([(session, prepare(picture), [])])
        corrected.append(tracker.correct(session, [click(1)], 1))
    for own, other in zip(
        corrected[0].tracks + corrected[0].latest,
        corrected[1].tracks + corrected[1].latest,
        strict=True,
    ):
        assert_equal(own, other)


def test_a_prepared_image_keeps_only_its_resized_bytes() -> None:
    tracker = little_tracker()
    picture = little_picture(0, 400, 600)
    prepared = tracker.prepare(picture)
    assert prepared.nbytes == 3 * IMAGE_SIZE**2
    session = tracker.open_session()
    tracker.step([(session, prepared, [])])
    assert session.history_bytes == prepared.nbytes


def test_an_image_of_the_right_size_is_copied() -> None:
    picture = little_picture(0).copy()
    prepared = little_tracker().prepare(picture)
    before = prepared.pixels_13SS.clone()
    picture[:] = 0
    assert (prepared.pixels_13SS == before).all()


def test_an_image_prepared_for_another_network_is_refused() -> None:
    larger = little_tracker(config=LITTLE.replaced(image_size=2 * IMAGE_SIZE))
    tracker = little_tracker()
    prepared = larger.prepare(little_picture(0))
    with pytest.raises(ValueError, match="prepared for a network of 128 pixels, this one takes 64"):
        tracker.step([(tracker.open_session(), prepared, [])])


@pytest.mark.parametrize("array", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)])
def test_something_else_than_an_image_is_refused(array: np.ndarray) -> None:
    with pytest.raises(ValueError, match="RGB uint8"):
        little_tracker().prepare(array)
