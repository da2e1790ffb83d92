"""Invalid calls are refused before anything is changed; failures leave no trace."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import tracker.step.frame_step
from tests.tracker.little import click, little_picture, little_tracker, step
from tracker import CapacityError, Prompt, PromptError, Session, SessionError, Tracker
from tracker.memory.bank import MemoryBank
from tracker.model import Sam2
from tracker.options import RobustOptions
from tracker.step.results import Delivery

HEIGHT = WIDTH = 64
EMPTY_MASK = np.zeros((HEIGHT, WIDTH), np.bool_)
SMALL_MASK = np.ones((10, 10), np.bool_)
GREY_MASK = np.full((HEIGHT, WIDTH), 255, np.uint8)

BAD_PROMPTS = {
    "nothing given": Prompt(1),
    "a point without a label": Prompt(1, ((5, 5),), ()),
    "an unknown label": Prompt(1, ((5, 5),), (2,)),
    "a point outside": Prompt(1, ((64, 5),), (1,)),
    "a point that is no number": Prompt(1, ((float("nan"), 5),), (1,)),
    "a box inside out": Prompt(1, box_xyxy=(30, 5, 10, 20)),
    "a box outside": Prompt(1, box_xyxy=(70, 70, 90, 90)),
    "a box without end": Prompt(1, box_xyxy=(0, 0, float("inf"), 20)),
    "a mask of another size": Prompt(1, mask=SMALL_MASK),
    "an empty mask": Prompt(1, mask=EMPTY_MASK),
    "a mask that is not boolean": Prompt(1, mask=GREY_MASK),  # type: ignore[arg-type]
    "a mask and a point": Prompt(1, ((5, 5),), (1,), mask=~EMPTY_MASK),
    "too many points": Prompt(1, ((5, 5),) * 100, (1,) * 100),
}


def same_as_undisturbed(
    disturb: Callable[[Tracker, Session, int], None], max_objects: int = 3
) -> None:
    """Two streams, one with refused calls between its frames; results are equal bit by bit."""

    def run(with_refusals: bool) -> list[np.ndarray]:
        tracker = little_tracker(max_objects=max_objects)
        session = tracker.open_session(max_objects=2)
        tracker.step([(tracker.open_session(), little_picture(9), [click(5)])])
        logits = []
        for index in range(6):
            prompts = [click(1), click(2, 50, 50)] if index == 0 else []
            for track in step(tracker, session, little_picture(index), *prompts).values():
                assert track.logits is not None
                logits.append(track.logits)
            if with_refusals:
                before = session.frames_seen, session.object_ids, tracker.free_slots
                disturb(tracker, session, index)
                assert (session.frames_seen, session.object_ids, tracker.free_slots) == before
        return logits

    for own, other in zip(run(True), run(False), strict=True):
        np.testing.assert_array_equal(own, other)


@pytest.mark.parametrize("name", BAD_PROMPTS)
def test_bad_prompt_is_refused_with_the_object_and_nothing_changes(name: str) -> None:
    def disturb(tracker: Tracker, session: Session, index: int) -> None:
        # A good prompt beside it must not be carried out either.
        batch = [click(2, 10, 10), BAD_PROMPTS[name]]
        with pytest.raises(PromptError, match="object 1"):
            tracker.step([(session, little_picture(index), batch)])
        with pytest.raises(PromptError, match="object 1"):
            tracker.correct(session, batch)

    same_as_undisturbed(disturb)


BESIDE = Prompt(1, ((5, 5), (40, 40)), (0, 0))


@pytest.mark.parametrize("robust", [None, RobustOptions()])
def test_points_beside_an_object_alone_start_nothing(robust: RobustOptions | None) -> None:
    """By the paper's rule only where the session asks for it: Meta's predictor starts them."""
    tracker = little_tracker(robust=robust)
    session = tracker.open_session(needs_positive=True if robust is None else None)
    said = "object 1: give a point on it, a box or a mask first"
    with pytest.raises(PromptError, match=said):
        step(tracker, session, little_picture(0), BESIDE)
    step(tracker, session, little_picture(0), click(2))
    for call in (tracker.correct, lambda *given: tracker.preview(given[0], given[1][0])):
        with pytest.raises(PromptError, match=said):
            call(session, [BESIDE])
    assert session.object_ids == (2,)

    step(tracker, session, little_picture(1), click(1))
    with pytest.raises(PromptError, match=said):
        tracker.correct(session, [BESIDE], anew=True)
    tracker.correct(session, [BESIDE])
    step(tracker, session, little_picture(2), BESIDE)


AFTER_ENCODING = [
    (Sam2, "decode"),
    (Sam2, "finish_memory"),
    (tracker.step.frame_step, "deliver"),
    (Delivery, "tracks"),
    (MemoryBank, "write"),
]


def out_of_memory(*_: object, **__: object) -> None:
    raise MemoryError


@pytest.mark.parametrize(("owner", "name"), [(Sam2, "encode_image"), *AFTER_ENCODING])
def test_step_that_fails_leaves_no_trace(
    owner: object, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def disturb(tracker: Tracker, session: Session, index: int) -> None:
        image = little_picture(index + 1)
        other = tracker.open_session()
        step(tracker, other, image)
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, out_of_memory)
            with pytest.raises(MemoryError):
                tracker.step([(session, image, [click(1, 9, 9)]), (other, image, [click(1)])])
            with pytest.raises(MemoryError):
                tracker.correct(other, [click(1)])
        assert other.object_ids == ()
        assert other.frames_seen == 1
        other.close()

    same_as_undisturbed(disturb, max_objects=4)


@pytest.mark.parametrize(("owner", "name"), AFTER_ENCODING)
def test_correction_that_fails_leaves_no_trace(
    owner: object, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def disturb(tracker: Tracker, session: Session, _: int) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, out_of_memory)
            with pytest.raises(MemoryError):
                tracker.correct(session, [click(1, 9, 9)])

    same_as_undisturbed(disturb)


def test_object_prompted_twice_is_refused() -> None:
    def disturb(tracker: Tracker, session: Session, index: int) -> None:
        with pytest.raises(PromptError, match="object 1 is prompted twice"):
            tracker.step([(session, little_picture(index), [click(1), click(1, 3, 3)])])

    same_as_undisturbed(disturb)


def test_mask_that_vanishes_at_the_size_of_the_network_is_refused() -> None:
    """Meta's predictor takes the object for hidden, and it never comes up again."""
    tracker = little_tracker()
    session = tracker.open_session()
    image = little_picture(0, 200, 300)
    thin = np.zeros((200, 300), np.bool_)
    thin[50, 20:200] = True
    with pytest.raises(PromptError, match="object 3: the mask is too small or too thin"):
        step(tracker, session, image, Prompt(3, mask=thin))
    thin[50:53] |= thin[50]
    assert list(step(tracker, session, image, Prompt(3, mask=thin))) == [3]


def test_full_session_refuses_and_nothing_changes() -> None:
    def disturb(tracker: Tracker, session: Session, index: int) -> None:
        with pytest.raises(CapacityError, match="2 of at most 2 objects"):
            tracker.step([(session, little_picture(index), [click(1, 9, 9), click(3)])])
        with pytest.raises(CapacityError, match="2 of at most 2 objects"):
            tracker.correct(session, [click(1, 9, 9), click(3)])

    same_as_undisturbed(disturb)


def test_full_bank_refuses_the_whole_step_and_nothing_changes() -> None:
    def disturb(tracker: Tracker, session: Session, index: int) -> None:
        other = tracker.open_session()
        with pytest.raises(CapacityError, match="only 0 of 3 slots are free"):
            tracker.step(
                [
                    (session, little_picture(index), [click(1, 9, 9)]),
                    (other, little_picture(index), [click(1)]),
                ]
            )
        assert other.frames_seen == 0
        other.close()

    same_as_undisturbed(disturb)


def test_two_new_streams_do_not_share_the_last_slot() -> None:
    tracker = little_tracker(max_objects=1)
    one, two = tracker.open_session(), tracker.open_session()
    with pytest.raises(CapacityError, match="2 new objects but only 1 of 1"):
        tracker.step([(s, little_picture(0), [click(1)]) for s in (one, two)])
    assert one.object_ids == two.object_ids == ()
    assert list(step(tracker, one, little_picture(0), click(1))) == [1]


def test_session_given_twice_is_refused() -> None:
    def disturb(tracker: Tracker, session: Session, index: int) -> None:
        with pytest.raises(SessionError, match="twice"):
            tracker.step([(session, little_picture(index), [])] * 2)

    same_as_undisturbed(disturb)


def test_closed_session_is_refused_and_its_slots_are_free() -> None:
    tracker = little_tracker(max_objects=2)
    session = tracker.open_session()
    step(tracker, session, little_picture(0), click(1), click(2))
    assert tracker.free_slots == 0
    session.close()
    session.close()
    assert tracker.free_slots == 2
    with pytest.raises(SessionError, match="closed"):
        step(tracker, session, little_picture(0))
    with pytest.raises(SessionError, match="closed"):
        tracker.correct(session, [click(1)])


def test_session_of_another_tracker_is_refused() -> None:
    with pytest.raises(SessionError, match="another tracker"):
        step(little_tracker(), little_tracker().open_session(), little_picture(0), click(1))


def test_correction_before_the_first_frame_is_refused() -> None:
    tracker = little_tracker()
    with pytest.raises(PromptError, match="nothing to correct"):
        tracker.correct(tracker.open_session(), [click(1)])


def test_second_box_on_a_frame_is_refused_unless_it_replaces() -> None:
    tracker = little_tracker()
    session = tracker.open_session()
    step(tracker, session, little_picture(0), Prompt(1, box_xyxy=(5, 5, 30, 30)))
    with pytest.raises(PromptError, match="already has a box"):
        tracker.correct(session, [Prompt(1, box_xyxy=(6, 6, 40, 40))])
    replaced = Prompt(1, box_xyxy=(6, 6, 40, 40), replace_points=True)
    assert len(tracker.correct(session, [replaced]).tracks) == 1


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((64, 64), np.uint8),
        np.zeros((64, 64, 4), np.uint8),
        np.zeros((64, 64, 3), np.float32),
        np.zeros((0, 64, 3), np.uint8),
    ],
)
def test_an_array_that_is_no_image_is_refused(image: np.ndarray) -> None:
    tracker = little_tracker()
    session = tracker.open_session()
    with pytest.raises(ValueError, match="an image is RGB uint8"):
        step(tracker, session, image, click(1))
    assert session.frames_seen == 0


def test_session_without_room_for_an_object_is_refused() -> None:
    with pytest.raises(ValueError, match="max_objects must be at least 1, got 0"):
        little_tracker().open_session(max_objects=0)


def test_removing_an_unknown_object_names_those_there_are() -> None:
    tracker = little_tracker()
    session = tracker.open_session()
    step(tracker, session, little_picture(0), click(4))
    with pytest.raises(KeyError, match="no object 5"):
        session.remove(5)
    assert session.object_ids == (4,)
