"""Steps that fail, or are given up, after they were submitted leave no trace."""

from __future__ import annotations

import pytest
import torch

from tests.tracker.ahead import POLICIES, assert_identical, tracker_of
from tests.tracker.little import click, little_picture
from tests.tracker.policy.test_robust_tracker import PLAIN
from tracker import RobustOptions, SessionError
from tracker.memory.bank import MemoryBank
from tracker.policy.robust_bank import RobustBank
from tracker.step.results import Delivery


@POLICIES
@pytest.mark.parametrize(
    ("owner", "name"), [(Delivery, "tracks"), (MemoryBank, "write"), (RobustBank, "remember")]
)
def test_step_that_fails_on_its_way_leaves_no_trace(
    owner: object,
    name: str,
    robust: RobustOptions | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if (owner, robust is None) in ((MemoryBank, False), (RobustBank, True)):
        owner, name = Delivery, "tracks"  # a step that is not settled cannot fail there
    tracker, plain = tracker_of(robust), tracker_of(robust)
    session, other = tracker.open_session(), plain.open_session()

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no memory left")

    for index in range(8):
        prompts = [click(1)] if index == 0 else []
        batch = [(session, little_picture(index), prompts)]
        if index == 4:
            session.leave_out([1])
            other.leave_out([1])
            with monkeypatch.context() as patch:
                patch.setattr(owner, name, fail)
                failing = tracker.submit([(session, little_picture(7), [click(9), click(1)])])
                assert session.object_ids == (1, 9)
                with pytest.raises(RuntimeError, match="no memory left"):
                    failing.collect()
                with pytest.raises(RuntimeError, match="no memory left"):
                    failing.collect()
            assert session.object_ids == (1,)
            assert (session.frames_seen, tracker.free_slots) == (4, 7)
        (ours,) = tracker.submit(batch).collect()
        (theirs,) = plain.step([(other, little_picture(index), prompts)])
        assert_identical(ours, theirs)


@POLICIES
def test_step_behind_one_that_failed_is_refused_and_can_be_given_again(
    robust: RobustOptions | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its frame would be tracked before the one that is given again."""
    tracker, plain = tracker_of(robust), tracker_of(robust)
    session, other = tracker.open_session(), plain.open_session()
    pictures = [(little_picture(index), [click(1)] if index == 0 else []) for index in range(5)]
    for picture, prompts in pictures[:3]:
        tracker.step([(session, picture, prompts)])
    owner, name = (MemoryBank, "write") if robust is None else (RobustBank, "remember")
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, lambda *_: 1 / 0)
        failing = tracker.submit([(session, pictures[3][0], [click(4)])])
        with pytest.raises(SessionError, match="the step submitted before this one has failed"):
            tracker.submit([(session, pictures[4][0], [])])
    with pytest.raises(ZeroDivisionError):
        failing.collect()
    assert session.object_ids == (1,)
    found = [tracker.submit([(session, picture, [])]) for picture, _ in pictures[3:]]
    expected = [plain.step([(other, picture, prompts)]) for picture, prompts in pictures]
    for pending, theirs in zip(found, expected[3:], strict=True):
        assert_identical(pending.collect()[0], theirs[0])


def test_lost_device_is_reported_at_once_and_nothing_waits_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tracker = tracker_of(PLAIN)
    session = tracker.open_session()

    def gone(*_: object) -> None:
        raise torch.AcceleratorError("the device is gone")

    monkeypatch.setattr(Delivery, "numbers_beside", gone)
    pending = tracker.submit([(session, little_picture(0), [click(1)])])
    with pytest.raises(torch.AcceleratorError):
        tracker.submit([(session, little_picture(1), [])])
    session.close()
    with pytest.raises(torch.AcceleratorError):
        pending.collect()


def test_withdrawn_step_is_as_if_it_had_not_been_submitted() -> None:
    tracker = tracker_of(None)
    session = tracker.open_session()
    tracker.step([(session, little_picture(0), [click(1)])])
    pending = tracker.submit([(session, little_picture(1), [click(2)])])
    pending.withdraw()
    pending.withdraw()
    assert (session.object_ids, session.frames_seen) == ((1,), 1)
    with pytest.raises(SessionError, match="withdrawn"):
        pending.collect()
    assert len(tracker.step([(session, little_picture(1), [])])[0]) == 1


def test_step_that_cannot_be_read_takes_nothing_from_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was kept when the next was submitted: only its tracks are missing."""
    tracker, plain = tracker_of(None), tracker_of(None)
    session, other = tracker.open_session(), plain.open_session()
    expected = [
        plain.step([(other, little_picture(index), [click(1)] if index == 0 else [])])
        for index in range(3)
    ]
    tracker.step([(session, little_picture(0), [click(1)])])
    first = tracker.submit([(session, little_picture(1), [])])
    second = tracker.submit([(session, little_picture(2), [])])
    with monkeypatch.context() as patch:
        patch.setattr(Delivery, "tracks", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            first.collect()
    other.remove(1)
    session.remove(1)  # waits for the second step, which knows the object
    assert session.frames_seen == other.frames_seen == 3
    assert_identical(second.collect()[0], expected[2][0])
