"""The robust policy in a tracker: what is remembered, reported, corrected and undone."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch

from tests.tracker.agreement.scripts import model_with
from tests.tracker.little import (
    LITTLE,
    assert_all_same,
    assert_same,
    click,
    little_picture,
    little_tracker,
    step,
)
from tests.tracker.step.test_correct_earlier_frames import assert_identical
from tests.tracker.step.test_device_waits import Waits
from tracker import Prompt, Session, StepFacts, Track, Tracker, TrackerOptions, TrackState
from tracker.model import Sam2
from tracker.options import RobustOptions
from tracker.policy.decision import MaskDecision
from tracker.policy.robust_bank import RobustBank
from tracker.step.row_decider import RowDecider

VISIBLE_BIAS = 30.0
VELOCITY = 1  # of the five numbers of a motion
EVERYTHING = RobustOptions(anchors=3)
# The little network's predicted IoU is noise, and its picture is another one on every frame.
PLAIN = replace(EVERYTHING, write_iou=0, return_iou=0, scene_cuts=False)


def robust(options: RobustOptions = PLAIN, bias: float = VISIBLE_BIAS) -> Tracker:
    return little_tracker(object_score_bias=bias, robust=options)


def bank_of(tracker: Tracker) -> RobustBank:
    assert isinstance(tracker._bank, RobustBank)
    return tracker._bank


def follow(
    tracker: Tracker, session: Session, frames: int, *prompts: Prompt, first: int = 0
) -> dict[int, Track]:
    tracks: dict[int, Track] = {}
    for index in range(first, first + frames):
        tracks = step(tracker, session, little_picture(index), *(prompts if index == first else ()))
    return tracks


@pytest.fixture
def hidden(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Frames on which the network sees no object."""
    frames: set[int] = set()
    decide = RowDecider.decide

    def blind(self: RowDecider, rows: list, *arguments: object) -> MaskDecision:  # type: ignore[type-arg]
        decision: MaskDecision = decide(self, rows, *arguments)  # type: ignore[arg-type]
        seen = torch.tensor([row.frame.index not in frames for row in rows])
        return decision._replace(
            logits_N1hw=torch.where(seen.view(-1, 1, 1, 1), decision.logits_N1hw, -1024.0),
            visible_N=decision.visible_N & seen,
            object_score_logit_N=torch.where(seen, decision.object_score_logit_N, -5.0),
        )

    monkeypatch.setattr(RowDecider, "decide", blind)
    return frames


def test_hidden_object_keeps_its_memories_however_long_it_is_gone(hidden: set[int]) -> None:
    tracker = robust()
    session = tracker.open_session()
    follow(tracker, session, 12, click(1))
    bank, slot = bank_of(tracker), session.slot_of(1)
    before = bank.recent_frames(slot), bank.pointer_frames(slot)
    hidden.update(range(12, 52))
    tracks = follow(tracker, session, 40, first=12)
    assert tracks[1].state is TrackState.OCCLUDED
    assert (bank.recent_frames(slot), bank.pointer_frames(slot)) == before
    assert 11 in before[0]
    assert bank.facts_K[slot]["hidden"] == 40


def test_paper_rule_is_what_robust_without_that_switch_does(hidden: set[int]) -> None:
    tracker = robust(replace(PLAIN, skip_absent=False))
    session = tracker.open_session()
    hidden.update(range(5, 15))
    follow(tracker, session, 15, click(1))
    assert 14 in bank_of(tracker).recent_frames(session.slot_of(1))


def test_unsure_frames_are_shown_but_not_remembered() -> None:
    tracker = robust(replace(PLAIN, write_iou=1.0))
    session = tracker.open_session()
    tracks = follow(tracker, session, 8, click(1))
    assert tracks[1].state is TrackState.VISIBLE
    assert bank_of(tracker).recent_frames(session.slot_of(1)) == ()


def test_returning_object_is_remembered_once_the_network_is_sure_of_it(hidden: set[int]) -> None:
    hidden.update(range(6, 9))
    remembered = {}
    for return_iou in (0.0, 1.0):
        tracker = robust(replace(PLAIN, return_iou=return_iou))
        session = tracker.open_session()
        tracks = follow(tracker, session, 12, click(1))
        assert tracks[1].state is TrackState.VISIBLE
        remembered[return_iou] = bank_of(tracker).recent_frames(session.slot_of(1))
    assert remembered == {0.0: (2, 3, 4, 5, 9, 10, 11), 1.0: (1, 2, 3, 4, 5)}
    # A prompted frame is always remembered.
    follow(tracker, session, 3, click(1), first=12)
    assert bank_of(tracker).recent_frames(session.slot_of(1))[-2:] == (13, 14)


def test_robust_is_the_paper_policy_while_all_objects_are_visible() -> None:
    plain = RobustOptions(
        write_iou=0, scene_cuts=False, track_before_prompt=False, closer_look=False
    )
    one, other = robust(plain), little_tracker(object_score_bias=VISIBLE_BIAS)
    streams = one.open_session(), other.open_session()
    for index in range(25):
        prompts = {0: [click(1), click(2, 10, 12)], 4: [click(3, 30, 30)]}.get(index, [])
        ours = step(one, streams[0], little_picture(index), *prompts)
        theirs = step(other, streams[1], little_picture(index), *prompts)
        assert_all_same(list(ours.values()), list(theirs.values()))


@pytest.mark.parametrize("frame", [3, 6])
def test_preview_of_a_hidden_object_predicts_the_same_box_as_the_prompt(
    frame: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = robust()
    session = tracker.open_session(history_frames=8)
    follow(tracker, session, 7, click(1))
    decide = RowDecider.decide

    def blind(self: RowDecider, rows: list, *arguments: object) -> MaskDecision:  # type: ignore[type-arg]
        decision: MaskDecision = decide(self, rows, *arguments)  # type: ignore[arg-type]
        return decision._replace(
            logits_N1hw=decision.logits_N1hw.clamp(max=-1024.0),
            visible_N=torch.zeros_like(decision.visible_N),
            object_score_logit_N=decision.object_score_logit_N.clamp(max=-5.0),
        )

    monkeypatch.setattr(RowDecider, "decide", blind)
    before = bank_of(tracker).state(session.slot_of(1))
    previewed = tracker.preview(session, click(1, 9, 50), frame)
    after = bank_of(tracker).state(session.slot_of(1))
    assert before.facts == after.facts
    assert torch.equal(before.motion_45, after.motion_45)
    given = tracker.correct(session, [click(1, 9, 50)], frame).tracks[0]
    assert previewed.predicted_box_xyxy == given.predicted_box_xyxy
    assert previewed.predicted_box_xyxy is not None
    assert previewed.area == 0


def test_hidden_object_has_a_predicted_box_until_it_is_too_uncertain(hidden: set[int]) -> None:
    tracker = robust()
    session = tracker.open_session()
    tracks = follow(tracker, session, 5, click(1))
    assert tracks[1].predicted_box_xyxy is None
    hidden.update(range(5, 400))
    reported = [follow(tracker, session, 1, first=5)[1].predicted_box_xyxy]
    while reported[-1] is not None:
        reported.append(follow(tracker, session, 1, first=len(reported) + 5)[1].predicted_box_xyxy)
        assert len(reported) < 300
    assert len(reported) > 5
    assert bank_of(tracker).facts_K[session.slot_of(1)]["known"]


def test_missing_frames_make_memories_older_and_break_the_motion() -> None:
    tracker = robust()
    session = tracker.open_session()
    follow(tracker, session, 4, click(1))
    session.note_gap(500)
    assert session.now == 504
    slot, bank = session.slot_of(1), bank_of(tracker)
    assert bank.motion_K45[slot, :, VELOCITY].any()
    follow(tracker, session, 1, first=4)
    assert not bank.motion_K45[slot, :, VELOCITY].any()
    assert bank.recent_frames(slot)[-1] == 504
    assert session.history == (4,)
    assert session.export_object(1).age_F.tolist() == [505]
    with pytest.raises(ValueError, match="at least 0 frames, got -1"):
        session.note_gap(-1)


def test_the_papers_policy_ignores_gaps() -> None:
    tracker = little_tracker(object_score_bias=VISIBLE_BIAS)
    gap, plain = tracker.open_session(), tracker.open_session()
    for index in range(6):
        gap.note_gap(7)
        prompts = [click(1)] if index == 0 else []
        ours, theirs = (step(tracker, s, little_picture(index), *prompts) for s in (gap, plain))
        assert_same(ours[1], theirs[1])
    assert gap.last_step == StepFacts()


def test_cut_is_reported_resets_the_motion_and_keeps_unsure_masks_out_of_memory() -> None:
    tracker = robust(replace(PLAIN, scene_cuts=True))
    session = tracker.open_session()
    dark, light = little_picture(1), 255 - little_picture(2) // 2
    for picture in (dark,) * 6:
        step(tracker, session, picture, *([click(1)] if not session.frames_seen else []))
        assert not session.last_step.scene_cut
    assert session.last_step.camera_motion == pytest.approx((0, 0), abs=1e-6)
    (track,) = step(tracker, session, light).values()
    assert session.last_step == StepFacts(scene_cut=True, camera_motion=None)
    slot = session.slot_of(1)
    assert not bank_of(tracker).motion_K45[slot, :, VELOCITY].any()
    assert (6 in bank_of(tracker).recent_frames(slot)) == (track.predicted_iou > 0.8)
    step(tracker, session, light)
    assert not session.last_step.scene_cut


def test_cut_is_reported_after_a_first_click_on_an_earlier_frame() -> None:
    """Nothing was encoded before it: there were no objects."""
    tracker = robust(replace(PLAIN, scene_cuts=True))
    session = tracker.open_session(history_frames=8)
    dark, light = little_picture(1), 255 - little_picture(2) // 2
    for _ in range(5):
        step(tracker, session, dark)
    tracker.correct(session, [click(1)], 2, anew=True)
    assert session.last_step.camera_motion == pytest.approx((0, 0), abs=1e-6)  # of the newest
    step(tracker, session, light)
    assert session.last_step == StepFacts(scene_cut=True, camera_motion=None)


def test_click_on_a_new_frame_corrects_what_is_tracked_there() -> None:
    tracker = robust()
    at_once, after = tracker.open_session(), tracker.open_session()
    for session in (at_once, after):
        follow(tracker, session, 6, click(1))
    better = Prompt(1, points_xy=((50, 50), (5, 5)), point_labels=(1, 0))
    given = step(tracker, at_once, little_picture(6), better)
    step(tracker, after, little_picture(6))
    assert_same(given[1], tracker.correct(after, [better]).tracks[0])
    for index in range(7, 12):
        picture = little_picture(index)
        assert_same(step(tracker, at_once, picture)[1], step(tracker, after, picture)[1])
    bank = bank_of(tracker)
    assert bank.conditioning_frames(at_once.slot_of(1)) == (0,)
    assert bank.conditioning_frames(after.slot_of(1)) == (0,)


def test_click_on_a_new_frame_starts_anew_where_that_is_asked_for() -> None:
    tracker = robust(replace(PLAIN, track_before_prompt=False))
    session, fresh = tracker.open_session(), tracker.open_session()
    follow(tracker, session, 6, click(1))
    given = step(tracker, session, little_picture(6), click(1, 40, 40))
    assert_same(given[1], step(tracker, fresh, little_picture(6), click(1, 40, 40))[1])
    assert bank_of(tracker).conditioning_frames(session.slot_of(1)) == (0, 6)


@pytest.mark.parametrize("clicked", [0, 3, 8, 9])
def test_object_started_on_an_earlier_frame_is_as_if_started_in_time(clicked: int) -> None:
    tracker = robust()
    late, in_time = tracker.open_session(history_frames=20), tracker.open_session()
    expected = []
    for index in range(10):
        picture = little_picture(index)
        # Another object is there: the picture is looked at in both.
        first = [click(7, 50, 9)] if index == 0 else []
        step(tracker, late, picture, *first)
        own = [click(1)] if index == clicked else []
        expected.append(step(tracker, in_time, picture, *first, *own))
    correction = tracker.correct(late, [click(1)], clicked)
    assert_all_same(correction.tracks, [expected[clicked][1]])
    assert_all_same(correction.latest, [expected[9][1]])
    for index in range(10, 14):
        ours, theirs = (
            step(tracker, session, little_picture(index)) for session in (late, in_time)
        )
        assert_same(ours[1], theirs[1])


def test_correction_of_an_earlier_frame_is_as_if_given_in_time() -> None:
    tracker = robust()
    late, in_time = tracker.open_session(history_frames=8), tracker.open_session()
    better = Prompt(1, points_xy=((50, 50), (5, 5)), point_labels=(1, 0))
    for index in range(7):
        prompts = [click(1)] if index == 0 else []
        step(tracker, late, little_picture(index), *prompts)
        expected = step(tracker, in_time, little_picture(index), *prompts)
        if index == 3:
            (corrected_in_time,) = tracker.correct(in_time, [better]).tracks
    correction = tracker.correct(late, [better], 3)
    assert_same(correction.tracks[0], corrected_in_time)
    assert_same(correction.latest[0], expected[1])
    bank = bank_of(tracker)
    mine, theirs = (bank.facts_K[session.slot_of(1)] for session in (late, in_time))
    for name in ("known", "hidden", "time", "returning"):
        assert mine[name] == theirs[name], name
    for index in range(7, 12):
        picture = little_picture(index)
        assert_same(step(tracker, late, picture)[1], step(tracker, in_time, picture)[1])


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("anew", [False, True])
def test_preview_is_what_the_prompt_gives_and_leaves_no_trace(live: bool, anew: bool) -> None:
    tracker = robust()
    looked, plain = (tracker.open_session(history_frames=8) for _ in range(2))
    for session in (looked, plain):
        follow(tracker, session, 5, *([click(1)] if live else []))
    wanted = click(1, 44, 12)
    for _ in range(3):
        seen = tracker.preview(looked, wanted, 2, anew=anew)
    ours, theirs = (follow(tracker, session, 1, first=5) for session in (looked, plain))
    assert_identical(ours, theirs)
    given = tracker.correct(looked, [wanted], 2, anew=anew)
    assert_identical({1: seen}, {1: given.tracks[0]})
    expected = tracker.correct(plain, [wanted], 2, anew=anew)
    assert_identical({1: given.latest[0]}, {1: expected.latest[0]})


@pytest.mark.parametrize("started", [4, 6])
def test_correction_before_a_new_start_leaves_what_is_known_after_that(started: int) -> None:
    """Started anew on a frame, an object is known from there on, however it was before."""
    tracker = robust(replace(PLAIN, track_before_prompt=False))
    bank = bank_of(tracker)
    session = tracker.open_session(history_frames=9)
    follow(tracker, session, started, click(1))
    follow(tracker, session, 7 - started, click(1, 50, 50), first=started)
    slot = session.slot_of(1)
    known, motion_45 = bank.facts_K[slot].copy(), bank.motion_K45[slot].clone()
    tracker.correct(session, [click(1, 9, 50)], 2)
    assert bank.facts_K[slot]["time"] == known["time"] == 6
    if started == 6:
        torch.testing.assert_close(bank.motion_K45[slot], motion_45, rtol=0, atol=0)


@pytest.mark.parametrize("live", [False, True])
def test_catching_up_that_fails_changes_nothing(
    live: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = robust()
    failing, plain = (tracker.open_session(history_frames=9) for _ in range(2))
    for session in (failing, plain):
        follow(tracker, session, 9, *([click(1)] if live else []))
    remember = Sam2.finish_memory
    calls = itertools.count()

    def fails_at_the_third(self: Sam2, *arguments: torch.Tensor) -> torch.Tensor:
        if next(calls) == 2:
            raise RuntimeError("no memory left")
        return remember(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Sam2, "finish_memory", fails_at_the_third)
        with pytest.raises(RuntimeError, match="no memory left"):
            tracker.correct(failing, [click(1, 50, 9)], 1)
    assert failing.object_ids == plain.object_ids
    again, expected = (tracker.correct(each, [click(1, 9, 50)], 2) for each in (failing, plain))
    assert_identical({1: again.latest[0]}, {1: expected.latest[0]})
    ours, theirs = (follow(tracker, session, 2, first=9) for session in (failing, plain))
    assert_identical(ours, theirs)


def test_step_that_fails_can_be_given_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = robust()
    failing, plain = tracker.open_session(), tracker.open_session()
    for session in (failing, plain):
        follow(tracker, session, 4, click(1))
    with monkeypatch.context() as patch:
        patch.setattr("tracker.step.frame_step.deliver", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            follow(tracker, failing, 1, first=4)
    ours, theirs = (follow(tracker, session, 4, first=4) for session in (failing, plain))
    assert_identical(ours, theirs)


def test_object_continues_in_another_tracker_and_is_corrected_there() -> None:
    tracker = robust()
    session = tracker.open_session()
    follow(tracker, session, 5, click(1))
    memory = session.export_object(1)
    other = robust()
    restarted = other.open_session(history_frames=3)
    restarted.import_object(1, memory)
    tracks = follow(other, restarted, 3, first=5)
    assert tracks[1].area > 0
    assert other.correct(restarted, [click(1, 9, 9)], 1).latest[0].object_id == 1


def test_alone_or_in_company_of_other_streams_is_the_same() -> None:
    tracker = robust(replace(PLAIN, scene_cuts=True))
    alone, among, other = (tracker.open_session() for _ in range(3))
    for index in range(20):
        prompts = [click(1), click(2, 50, 50)] if index == 0 else []
        picture = little_picture(index)
        expected = step(tracker, alone, picture, *prompts)
        ours, _ = tracker.step(
            [
                (among, picture, prompts),
                (other, little_picture(index + 3), [click(4, 9, 9)] if index == 4 else []),
            ]
        )
        assert_all_same(ours, list(expected.values()))


def test_counters_far_along_and_many_frames_later_give_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Twice round the loop of pictures more, and nothing is left of when it began."""
    monkeypatch.setattr("tracker.policy.robust_bank.LARGEST_POINTER_AGE", 16)
    tracker = robust(replace(PLAIN, anchors=0))
    young, old = tracker.open_session(), tracker.open_session()
    old.frames_seen = 10**6
    by_index: list[Track] = []
    for index in range(90):
        prompts = [click(1)] if index == 0 else []
        by_index.append(step(tracker, young, little_picture(index % 6), *prompts)[1])
        if index < 40:
            assert_same(step(tracker, old, little_picture(index % 6), *prompts)[1], by_index[-1])
    # The pictures repeat after six frames.
    assert_same(by_index[89], by_index[59], relative=1e-3)


def test_the_host_waits_for_nothing_but_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = robust().model().state_dict()
    options = TrackerOptions(
        max_objects=4, memory_policy="robust", robust=EVERYTHING, non_overlap=True
    )
    tracker = Tracker(model_with(LITTLE, weights), torch.device("cpu"), options)
    sessions = [tracker.open_session() for _ in range(2)]
    for index in range(5):
        prompts = [
            [click(1), click(2, 50, 50)] if index == 0 else [],
            [click(3)] if index in (2, 4) else [],
        ]
        with Waits() as waits:
            tracker.step(
                [
                    (session, little_picture(index), own)
                    for session, own in zip(sessions, prompts, strict=True)
                ]
            )
        assert waits.found == []
        monkeypatch.delattr(torch, "tensor", raising=index == 0)


def test_impossible_options_are_refused() -> None:
    with pytest.raises(ValueError, match=r"robust.anchors must be 0..3, got 4"):
        RobustOptions(anchors=4)


def test_little_network_has_a_window_of_six() -> None:
    """The tests of the bank count on it."""
    assert LITTLE.recent_memories == 6
