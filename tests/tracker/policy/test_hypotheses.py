"""An object in question is followed along several paths, within a budget that is given back."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from tests.tracker.agreement.scripts import model_with
from tests.tracker.little import LITTLE, click, little_picture, little_tracker, step
from tests.tracker.policy.two_places import (
    PLACES,
    World,
    all_slots_are_back,
    standing,
    two_places_tracker,
    where,
    without_network,
    world,
)
from tests.tracker.step.test_correct_earlier_frames import assert_identical
from tests.tracker.step.test_device_waits import Waits
from tracker import Prompt, Session, Tracker, TrackerOptions
from tracker.engine.options import EngineOptions
from tracker.errors import CapacityError
from tracker.memory.bank import SlotCopy
from tracker.model import Sam2
from tracker.policy import hypotheses
from tracker.policy.options import RobustOptions
from tracker.policy.robust_bank import RobustBank

__all__ = ["world"]


def begun(world: World, tracker: Tracker, *places: str) -> Session:
    """A session with an object at each place, on its fourth frame."""
    session = tracker.open_session(history_frames=6)
    world.step(tracker, session, *(standing(each, i) for i, each in enumerate(places, 1)))
    world.go(tracker, session, 3)
    return session


def in_question(world: World, tracker: Tracker, *places: str) -> Session:
    """The same, one frame later, on which it was taken for what is on the right."""
    world.doubtful = {4}
    session = begun(world, tracker, *(places or ("left",)))
    tracks = world.go(tracker, session, 1)
    assert where(tracks[1]) == "right"
    return session


def test_later_evidence_brings_back_the_path_that_was_not_chosen(world: World) -> None:
    tracker, single = two_places_tracker(), two_places_tracker(1)
    session, alone = in_question(world, tracker), in_question(world, single)
    world.sure["right"] = 0.6
    assert session.branches == 1
    assert alone.branches == 0
    assert where(world.go(tracker, session, 2)[1]) == "left"
    assert session.branches == 1
    assert where(world.go(tracker, session, 12)[1]) == "left"
    assert where(world.go(single, alone, 14)[1]) == "right"
    # The loser fell clearly behind: its slot is back, and the object is where it is shown.
    assert session.branches == 0
    assert all_slots_are_back(tracker, session.object_ids)
    bank = tracker._bank
    assert isinstance(bank, RobustBank)
    assert bank.motion_K45[session.slot_of(1), 0, 0] < 0.5
    assert bank.recent_frames(session.slot_of(1))[-1] == session.frames_seen - 1


def test_each_path_remembers_what_it_saw_itself(world: World) -> None:
    tracker = two_places_tracker()
    session = in_question(world, tracker)
    bank = tracker._bank
    assert isinstance(bank, RobustBank)
    mine, other = session.paths_of(1)
    assert bank.conditioning_frames(mine) == bank.conditioning_frames(other) == (0,)
    assert bank.recent_frames(mine) == bank.recent_frames(other)
    here, there = bank.copy(mine), bank.copy(other)
    same = (here.spatial_FLc == there.spatial_FLc).flatten(1).all(dim=1)
    frame_F = here.spatial_frame_F
    assert same.tolist() == (frame_F != 4).tolist()
    assert not torch.equal(here.pointer_PC, there.pointer_PC)


def test_rows_are_as_many_as_there_are_objects_while_nothing_is_in_question(world: World) -> None:
    tracker, single = two_places_tracker(3), two_places_tracker(1)
    session, alone = (begun(world, each, "left", "right") for each in (tracker, single))
    world.rows.clear()
    for _ in range(6):
        ours, theirs = (
            world.step(each, own) for each, own in ((tracker, session), (single, alone))
        )
        assert_identical(ours, theirs)
    assert world.rows == [2] * 12


def test_paths_are_rows_of_one_batch(world: World) -> None:
    tracker = two_places_tracker()
    session = in_question(world, tracker, "left", "right")
    world.rows.clear()
    assert session.branches > 0
    rows = 2 + session.branches
    assert set(world.step(tracker, session)) == {1, 2}
    assert world.rows == [rows]


def test_paths_that_see_the_same_again_become_one(world: World) -> None:
    tracker = two_places_tracker()
    session = in_question(world, tracker)
    world.meeting = {5, 6, 7}
    world.go(tracker, session, hypotheses.AGREE_FRAMES - 1)
    assert session.branches == 1
    world.go(tracker, session, 1)
    assert session.branches == 0
    assert all_slots_are_back(tracker, session.object_ids)


def test_path_that_never_leads_ends_after_a_while(world: World) -> None:
    tracker = two_places_tracker()
    session = in_question(world, tracker)
    world.go(tracker, session, hypotheses.LONGEST_FRAMES)
    assert session.branches == 1
    assert where(world.go(tracker, session, 1)[1]) == "right"
    assert session.branches == 0


def test_nobody_is_in_question_while_hidden_or_just_prompted(world: World) -> None:
    tracker = two_places_tracker()
    world.doubtful = world.hidden = {4}
    session = begun(world, tracker, "left")
    world.go(tracker, session, 1)
    assert session.branches == 0
    world.doubtful = {5}
    world.step(tracker, session, standing("left"))
    assert session.branches == 0


def test_another_objects_surer_mask_counts_against_a_path_on_it(world: World) -> None:
    tracker, lonely = two_places_tracker(), two_places_tracker()
    session, alone = in_question(world, tracker), in_question(world, lonely)
    world.doubtful = set()
    world.sure["right"] = 0.95
    # Another one is known to be on the right, and is seen there as well as the path is.
    own = world.sure
    world.step(tracker, session, standing("right", 2))
    world.sure = own | {"right": 0.95}
    world.step(lonely, alone)
    other = session.slot_of(2)
    decode = world.decode

    def surer(output):  # type: ignore[no-untyped-def]
        told = decode(output)
        told.predicted_iou_N4[torch.from_numpy(world._slot_N == other), 1] = 0.99
        return told

    world.decode = surer  # type: ignore[method-assign]
    tracks = world.go(tracker, session, 2)
    assert (where(tracks[1]), where(tracks[2])) == ("left", "right")
    world.decode = decode  # type: ignore[method-assign]
    assert where(world.go(lonely, alone, 2)[1]) == "right"


def test_budget_that_is_used_up_leaves_the_others_as_they_are(world: World) -> None:
    tracker = two_places_tracker(rows=1, max_objects=3)
    session = in_question(world, tracker, "left", "left", "left")
    assert session.branches == 1
    assert tracker.free_slots == 0
    with pytest.raises(CapacityError, match="only 0 of 3 slots"):
        world.step(tracker, tracker.open_session(), standing("left", 4))
    tracks = world.go(tracker, session, 3)
    assert set(tracks) == {1, 2, 3}
    session.remove(2)
    session.remove(3)
    assert tracker.free_slots == 2
    world.step(tracker, session, standing("left", 4), standing("right", 5))
    assert session.branches == 1
    session.close()
    assert all_slots_are_back(tracker)


def test_streams_have_their_shares_of_the_budget(world: World) -> None:
    tracker = two_places_tracker(rows=4, max_objects=8)
    world.doubtful = {1}
    greedy, modest = tracker.open_session(max_objects=4), tracker.open_session(max_objects=2)
    for session, count in ((greedy, 4), (modest, 2)):
        world.step(tracker, session, *(standing("left", each) for each in range(1, count + 1)))
    for session in (greedy, modest):
        world.go(tracker, session, 1)
    assert (greedy.branches, modest.branches) == (2, 1)


@pytest.mark.parametrize("hypotheses_allowed", [2, 3])
def test_third_path_only_where_it_is_allowed_and_elsewhere(
    world: World, hypotheses_allowed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.sure["left"] = 0.6
    tracker = two_places_tracker(hypotheses_allowed)
    session = in_question(world, tracker)
    world.doubtful, world.unmoved = {5}, set(session.paths_of(1)[1:])
    world.go(tracker, session, 1)
    # What is in question is the same as before.
    assert session.branches == 1
    monkeypatch.setitem(PLACES, "speck", (12, 16, 1, 15))
    world.doubtful, world.third = {6}, 0.77
    world.go(tracker, session, 1)
    assert session.branches == hypotheses_allowed - 1
    world.sure["right"] = 0.3
    world.go(tracker, session, hypotheses.LONGEST_FRAMES + 8)
    assert all_slots_are_back(tracker, session.object_ids)


def test_prompt_ends_the_question(world: World) -> None:
    tracker = two_places_tracker()
    bank = tracker._bank
    assert isinstance(bank, RobustBank)
    session = in_question(world, tracker)
    world.step(tracker, session, click(1, 14, 30))
    assert session.branches == 0
    assert all_slots_are_back(tracker, session.object_ids)
    assert bank.recent_frames(session.slot_of(1))[-1] == 5


@pytest.mark.parametrize("frame", [None, 4, 2])
def test_correction_ends_the_question(world: World, frame: int | None) -> None:
    tracker = two_places_tracker()
    session = in_question(world, tracker)
    world.go(tracker, session, 1)
    assert session.branches == 1
    before = session.paths_of(1)
    tracker.preview(session, click(1, 14, 30), frame)
    assert session.paths_of(1) == before
    world.doubtful = set()
    correction = tracker.correct(session, [standing("left")], frame)
    assert where(correction.latest[0]) == "left"
    assert session.branches == 0
    assert all_slots_are_back(tracker, session.object_ids)
    assert where(world.go(tracker, session, 3)[1]) == "left"


def test_correction_that_fails_leaves_both_paths(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = two_places_tracker()
    session = in_question(world, tracker)
    world.go(tracker, session, 1)
    before = session.paths_of(1)
    with monkeypatch.context() as patch:
        patch.setattr("tracker.step.frame_step.deliver", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            tracker.correct(session, [standing("left")])
    assert session.paths_of(1) == before
    assert session.branches == 1


def test_step_that_fails_while_it_branches_can_be_given_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.doubtful = {4}
    tracker, plain = two_places_tracker(), two_places_tracker()
    session, expected = (begun(world, each, "left") for each in (tracker, plain))
    finish, calls = Sam2.finish_memory, []

    def fails_at_the_second(self: Sam2, *arguments: torch.Tensor) -> torch.Tensor:
        calls.append(0)
        if len(calls) == 2:
            raise RuntimeError("no memory left")
        return finish(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Sam2, "finish_memory", fails_at_the_second)
        with pytest.raises(RuntimeError, match="no memory left"):
            world.step(tracker, session)
    assert all_slots_are_back(tracker, session.object_ids)
    world.sure["right"] = 0.6
    for _ in range(4):
        ours, theirs = (
            world.step(each, own) for each, own in ((tracker, session), (plain, expected))
        )
        assert_identical(ours, theirs)


def test_slots_go_back_when_the_second_of_two_cannot_be_filled(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.doubtful = {4}
    tracker = two_places_tracker()
    session = begun(world, tracker, "left", "left")
    restore, calls = RobustBank.restore, itertools.count()

    def fails_at_the_second(self: RobustBank, slot: int, copy: SlotCopy) -> None:
        if next(calls) == 1:
            raise RuntimeError("no memory left")
        restore(self, slot, copy)

    with monkeypatch.context() as patch:
        patch.setattr(RobustBank, "restore", fails_at_the_second)
        with pytest.raises(RuntimeError, match="no memory left"):
            world.step(tracker, session)
    assert all_slots_are_back(tracker, session.object_ids)
    world.step(tracker, session)
    assert session.branches == 2


def test_object_that_is_left_out_keeps_its_paths(world: World) -> None:
    tracker = two_places_tracker()
    session = in_question(world, tracker, "left", "right")
    before = session.paths_of(1)
    for _ in range(3):
        session.leave_out({1})
        assert set(world.step(tracker, session)) == {2}
    assert session.paths_of(1) == before
    assert set(world.step(tracker, session)) == {1, 2}


def test_export_is_of_the_path_that_is_shown(world: World) -> None:
    tracker = two_places_tracker()
    session = in_question(world, tracker)
    memory = session.export_object(1)
    assert memory.age_F.tolist() == [5]
    again = tracker.open_session()
    again.import_object(1, memory)
    assert again.branches == 0
    again.close()
    session.close()
    assert all_slots_are_back(tracker)


def test_slots_are_all_back_after_hundreds_of_frames_of_doubt(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = two_places_tracker(3, rows=1, max_objects=3)
    without_network(monkeypatch, world)
    generator = np.random.default_rng(5)
    session = tracker.open_session()
    world.step(tracker, session, *(standing("left", each) for each in (1, 2)))
    most = 0
    for frame in range(1, 600):
        world.doubtful = {frame} if frame % 11 == 0 else set()
        world.meeting = {frame} if generator.random() < 0.3 else set()
        world.hidden = {frame} if frame % 97 == 0 else set()
        world.sure = {side: float(generator.uniform(0.4, 0.9)) for side in ("left", "right")}
        prompts: list[Prompt] = []
        if frame % 53 == 0:
            session.remove(2)
            prompts = [standing("left", 2)]
        elif frame % 71 == 0:
            prompts = [click(1, 14, 30)]
        world.step(tracker, session, *prompts)
        most = max(most, session.branches)
        assert tracker.free_slots == 1
    assert most == 1
    session.close()
    assert all_slots_are_back(tracker)
    assert tracker.free_slots == 3


def test_the_papers_policy_is_not_touched() -> None:
    weights = little_tracker().model().state_dict()
    trackers = [
        Tracker(
            model_with(LITTLE, weights),
            torch.device("cpu"),
            TrackerOptions(max_objects=4, memory_policy="sam2", robust=robust, return_logits=True),
        )
        for robust in (RobustOptions(), RobustOptions(hypotheses=3))
    ]
    assert len({tracker.memory_bank_bytes for tracker in trackers}) == 1
    sessions = [tracker.open_session() for tracker in trackers]
    for index in range(12):
        prompts = [click(1), click(2, 50, 50)] if index == 0 else []
        ours, theirs = (
            step(tracker, session, little_picture(index), *prompts)
            for tracker, session in zip(trackers, sessions, strict=True)
        )
        assert_identical(ours, theirs)


def test_budget_is_reserved_when_the_tracker_is_made() -> None:
    one, eight = (
        two_places_tracker(2, rows=rows, max_objects=8).memory_bank_bytes for rows in (1, 8)
    )
    without = two_places_tracker(1, max_objects=8).memory_bank_bytes
    assert one - without == without / 8
    assert eight == 2 * without


def test_second_paths_are_warmed_up_for(world: World) -> None:
    weights = little_tracker().model().state_dict()
    options = TrackerOptions(
        max_objects=1,
        memory_policy="robust",
        robust=RobustOptions(hypotheses=2, hypothesis_rows=1, scene_cuts=False),
        engine=EngineOptions(fixed_shapes="on"),
    )
    tracker = Tracker(model_with(LITTLE, weights), torch.device("cpu"), options)
    tracker.warm_up()
    session = in_question(world, tracker)
    world.go(tracker, session, 8)
    assert session.branches == 1
    assert tracker.engine_counts.in_service == 0


def test_the_host_waits_for_nothing_but_the_result(world: World) -> None:
    tracker = two_places_tracker()
    world.doubtful = {4}
    session = begun(world, tracker, "left", "right")
    decode = world.decode

    def apart(output):  # type: ignore[no-untyped-def]
        with torch._C._DisableTorchDispatch():
            return decode(output)

    world.decode = apart  # type: ignore[method-assign]
    for _ in range(3):
        with Waits() as waits:
            world.step(tracker, session)
        assert waits.found == []
    assert session.branches > 0


def test_impossible_budgets_are_refused() -> None:
    with pytest.raises(ValueError, match=r"robust.hypotheses must be 1..3, got 4"):
        RobustOptions(hypotheses=4)
    with pytest.raises(ValueError, match=r"robust.hypothesis_rows must be 1..256, got 0"):
        RobustOptions(hypothesis_rows=0)
