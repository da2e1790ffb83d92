"""Decisions on detections, pass by pass: hits, limits, removed and lost objects."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from streamer.config.starters import StarterConfig
from streamer.starters.geometry import scaled
from streamer.starters.policy import FrameFacts, StartDecision, StartPolicy, Verdict
from streamer.starters.twins import TWIN_PASSES
from streamer.types import Detection
from tests.streamer.starters.things import HEIGHT, WIDTH, followed, frame, thing


def policy(max_objects: int = 16, *, off_border: bool = False, **settings: object) -> StartPolicy:
    config = StarterConfig(kind="boxes", **{"minimum_hits": 1, **settings})  # type: ignore[arg-type]
    return StartPolicy(config, max_objects, off_border)


def started(decision: StartDecision) -> list[tuple[float, ...]]:
    return [each.box_xyxy for each in decision.starts]


def test_thing_is_started_once_it_was_seen_often_enough_in_a_row() -> None:
    judge = policy(minimum_hits=3)
    for pass_index, x in enumerate((10, 14, 19)):
        decision = judge.decide([thing(x)], frame(pass_index))
        assert len(decision.starts) == (pass_index == 2)
    judge = policy(minimum_hits=3)
    for pass_index, things in enumerate(([thing(10)], [thing(14)], [], [thing(22)], [thing(26)])):
        decision = judge.decide(things, frame(pass_index))
        assert decision.starts == (), pass_index
    assert decision.verdicts == {Verdict.WAITING: 1}


def test_fast_object_is_matched_at_its_predicted_position() -> None:
    judge = policy(minimum_hits=3)
    for pass_index in range(3):
        decision = judge.decide([thing(10 + 35 * pass_index)], frame(pass_index))
    assert started(decision) == [(80, 30, 100, 70)]


def test_failed_pass_resets_the_count_of_consecutive_hits() -> None:
    judge = policy(minimum_hits=2)
    judge.decide([thing(10)], frame(0))
    judge.missed()
    assert not judge.decide([thing(10)], frame(1)).starts
    assert judge.decide([thing(10)], frame(2)).starts


@pytest.mark.parametrize(
    ("settings", "found", "verdict"),
    [
        ({"minimum_score": 0.95}, thing(50), Verdict.UNSURE),
        ({"labels": ["car"]}, thing(50, label="dog"), Verdict.LABEL),
        ({"labels": ["car"]}, thing(50), Verdict.LABEL),
        ({"minimum_area": 0.1}, thing(50), Verdict.SMALL),
        ({"maximum_area": 0.01}, thing(50), Verdict.LARGE),
        ({"region": [[100, 0], [200, 0], [200, 100]]}, thing(50), Verdict.OUTSIDE),
        ({"minimum_hits": 2}, thing(50), Verdict.WAITING),
        ({}, thing(50), None),
        ({"region": [[0, 0], [100, 0], [100, 100], [0, 100]]}, thing(50), None),
    ],
)
def test_what_may_not_be_started_is_counted_with_the_reason(
    settings: dict[str, object], found: Detection, verdict: Verdict | None
) -> None:
    decision = policy(**settings).decide([found], frame(0))
    assert decision.verdicts == ({} if verdict is None else {verdict: 1})
    assert len(decision.starts) == (verdict is None)


def test_thing_at_the_border_waits_until_all_of_it_is_there() -> None:
    judge = policy(minimum_hits=2, off_border=True)
    entering = [
        judge.decide([thing(x)], frame(pass_index)) for pass_index, x in enumerate((0, 1, 10))
    ]
    assert entering[1].verdicts == {Verdict.BORDER: 1}
    assert started(entering[2]) == [(10, 30, 30, 70)]
    assert policy().decide([thing(0)], frame(0)).starts


def test_starts_are_limited_to_the_free_object_places() -> None:
    things = [thing(x) for x in (10, 50, 90, 130)]
    decision = policy(max_objects=3).decide(things, frame(0, followed(1, None), followed(2, None)))
    assert (len(decision.starts), decision.verdicts[Verdict.FULL]) == (1, 3)
    judge = policy(maximum_objects=2, remove_lost_s=0)
    judge.started(1, thing(10))
    decision = judge.decide(things, frame(1, followed(1, None)))
    assert len(decision.starts) == 1


def test_removed_object_is_not_restarted_while_it_is_visible() -> None:
    judge = policy(ignore_removed_s=2.0)
    judge.decide([thing(10)], frame(0, followed(1, (10, 30, 30, 70))))
    for pass_index in range(1, 20):  # it keeps walking
        decision = judge.decide([thing(10 + 5 * pass_index)], frame(pass_index))
        assert decision.verdicts == {Verdict.LEFT_ALONE: 1}, pass_index
    assert not judge.decide([], frame(25)).starts
    assert judge.decide([thing(150)], frame(60)).starts


@pytest.mark.parametrize("detected_as", [None, "dog"])
def test_what_was_started_named_and_removed_is_left_alone(detected_as: str | None) -> None:
    """A detection without a label gets the configured name; the object can be renamed."""
    judge = policy(label="player")
    (start,) = judge.decide([thing(10, label=detected_as)], frame(0)).starts
    assert start.label == (detected_as or "player")
    judge.started(1, start)
    judge.decide([], frame(1, followed(1, (12, 30, 32, 70), "our captain")))
    decision = judge.decide([thing(14, label=detected_as)], frame(2))
    assert decision.verdicts == {Verdict.LEFT_ALONE: 1}


def test_object_removed_before_the_next_pass_is_not_restarted() -> None:
    judge = policy()
    (start,) = judge.decide([thing(10)], frame(0)).starts
    judge.started(1, start)
    assert judge.decide([thing(12)], frame(1)).verdicts == {Verdict.LEFT_ALONE: 1}


def test_lost_object_that_was_renamed_is_found_as_what_it_was_detected_as() -> None:
    judge = policy(lost_wait_s=0.0)
    (start,) = judge.decide([thing(50, label="car")], frame(0)).starts
    judge.started(1, start)
    judge.decide([], frame(1, followed(1, (50, 30, 70, 70), "the boss")))
    judge.decide([], frame(2, followed(1, None, "the boss")))
    decision = judge.decide([thing(52, label="car")], frame(3, followed(1, None, "the boss")))
    assert [object_id for object_id, _ in decision.finds] == [1]


def test_what_the_tracker_could_not_hold_is_left_alone_for_a_moment() -> None:
    judge = policy()
    judge.unclear(thing(10), 0)
    assert judge.decide([thing(11)], frame(1)).verdicts == {Verdict.LEFT_ALONE: 1}
    assert judge.decide([thing(11)], frame(60)).starts


def picture(*things: tuple[Detection, tuple[int, int, int]]) -> np.ndarray:
    image = np.full((HEIGHT, WIDTH, 3), 90, dtype=np.uint8)
    for found, colour in things:
        x0, y0, x1, y1 = map(int, found.box_xyxy)
        image[y0:y1, x0:x1] = colour
    return image


RED, BLUE = (220, 20, 20), (20, 20, 220)


def lose(judge: StartPolicy, colour: tuple[int, int, int] = RED) -> None:
    """Object 1 is seen at 50, then disappears."""
    there = thing(50)
    image = picture((there, colour))
    judge.decide([there], frame(0, followed(1, (50, 30, 70, 70)), image=image))
    judge.decide([], frame(1, followed(1, None), image=picture()))


def test_lost_object_is_prompted_anew_where_a_thing_like_it_is() -> None:
    judge = policy(minimum_hits=2, lost_wait_s=1.0)
    lose(judge)
    back = thing(60)
    for pass_index in (4, 5):  # it may come back by itself
        decision = judge.decide(
            [back], frame(pass_index, followed(1, None), image=picture((back, RED)))
        )
        assert decision.verdicts == {Verdict.WAITING: 1}
        assert not decision.starts
    decision = judge.decide([back], frame(7, followed(1, None), image=picture((back, RED))))
    assert [(object_id, each is back) for object_id, each in decision.finds] == [(1, True)]
    assert not decision.starts


@pytest.mark.parametrize(
    ("back", "colour"),
    [
        (thing(60), BLUE),  # another colour
        (thing(170), RED),  # too far away
        (Detection((45, 20, 95, 90)), RED),  # another size
        (thing(60, label="dog"), RED),
    ],
)
def test_what_is_not_like_a_lost_object_is_a_new_one(
    back: Detection, colour: tuple[int, int, int]
) -> None:
    judge = policy(lost_wait_s=0.2)
    lose(judge)
    decision = judge.decide([back], frame(7, followed(1, None), image=picture((back, colour))))
    assert not decision.finds
    assert len(decision.starts) == 1


def test_two_things_like_one_lost_object_are_both_new() -> None:
    judge = policy(lost_wait_s=0.2)
    lose(judge)
    both = [thing(30), thing(70)]
    image = picture((both[0], RED), (both[1], RED))
    decision = judge.decide(both, frame(7, followed(1, None), image=image))
    assert not decision.finds
    assert len(decision.starts) == 2


def test_without_a_picture_only_the_label_decides_similarity() -> None:
    for label, found in (("car", 1), (None, 0)):
        judge = policy(lost_wait_s=0.2)
        judge.decide([], frame(0, followed(1, (50, 30, 70, 70), label)))
        judge.decide([], frame(1, followed(1, None, label)))
        decision = judge.decide([thing(55, label=label)], frame(7, followed(1, None, label)))
        assert len(decision.finds) == found


def test_finding_lost_objects_can_be_switched_off() -> None:
    judge = policy(find_lost=False)
    lose(judge)
    back = thing(52)
    assert judge.decide([back], frame(7, followed(1, None), image=picture((back, RED)))).starts


def test_what_it_started_itself_is_removed_when_out_of_sight_for_long() -> None:
    judge = policy(remove_lost_s=2.0)
    judge.started(1, thing(10))
    both = (followed(1, (10, 30, 30, 70)), followed(2, (50, 30, 70, 70)))
    judge.decide([], frame(0, *both))
    gone = (followed(1, None), followed(2, None))
    removals = [judge.decide([], frame(pass_index, *gone)).removals for pass_index in range(1, 13)]
    assert removals[:10] == [()] * 10
    assert removals[10] == (1,)
    # Time in which the camera was away does not count.
    judge = policy(remove_lost_s=2.0)
    judge.started(1, thing(10))
    judge.decide([], frame(0, *both))
    judge.decide([], frame(1, *gone))
    assert judge.decide([], frame(50, *gone, session="next")).removals == ()


def test_mask_of_ours_that_lies_on_nothing_counts_as_out_of_sight() -> None:
    judge = policy(remove_lost_s=1.0)
    judge.started(1, thing(10))
    sure, guess = followed(1, (10, 30, 30, 70)), followed(1, (60, 30, 80, 70))
    guess = replace(guess, track=replace(guess.track, predicted_iou=0.05))
    assert judge.decide([], frame(0, sure)).removals == ()
    assert judge.decide([thing(60)], frame(1, guess)).starts  # it overlaps no tracked object
    assert judge.decide([], frame(7, guess)).removals == (1,)
    yours = policy()
    assert not yours.decide([thing(60)], frame(0, guess)).starts
    assert yours.decide([], frame(99, guess)).removals == ()


def test_of_two_objects_that_are_one_thing_the_younger_of_ours_goes() -> None:
    both = (followed(3, (10, 30, 30, 70)), followed(8, (11, 30, 31, 70)))
    for own, removed in (({3, 8}, (8,)), ({3}, (3,)), ({8}, (8,)), (set(), ())):
        judge = policy()
        for object_id in own:
            judge.started(object_id, thing(10))
        removals = [
            judge.decide([], frame(pass_index, *both)).removals for pass_index in range(TWIN_PASSES)
        ]
        assert removals == [()] * (TWIN_PASSES - 1) + [removed]


def test_players_that_cross_stay_two() -> None:
    judge = policy()
    judge.started(3, thing(10))
    judge.started(8, thing(10))
    for pass_index in range(4 * TWIN_PASSES):
        x = 10 if pass_index % TWIN_PASSES else 60
        both = (followed(3, (10, 30, 30, 70)), followed(8, (x, 30, x + 20, 70)))
        assert judge.decide([], frame(pass_index, *both)).removals == ()


def enlarged(facts: FrameFacts, *things: Detection) -> tuple[list[Detection], FrameFacts]:
    """The same frame and detections at twice the width and 3 times the height."""
    objects = tuple(
        replace(
            each,
            track=replace(
                each.track,
                box_xyxy=tuple(a * b for a, b in zip(each.track.box_xyxy, (2, 3) * 2, strict=True)),
                crop=each.track.crop.repeat(3, 0).repeat(2, 1),
                area=each.track.area * 6,
            ),
        )
        for each in facts.objects
    )
    large = replace(facts, width=2 * WIDTH, height=3 * HEIGHT, objects=objects)
    return [replace(each, box_xyxy=scaled(each.box_xyxy, 2, 3)) for each in things], large


def test_thing_is_the_same_in_pictures_of_another_size() -> None:
    judge = policy(minimum_hits=4)
    for pass_index, x in enumerate((10, 45)):
        judge.decide([thing(x)], frame(pass_index))
    assert judge.decide(*enlarged(frame(2), thing(80))).verdicts == {Verdict.WAITING: 1}
    assert started(judge.decide([thing(115)], frame(3))) == [(115, 30, 135, 70)]


def test_what_was_removed_is_left_alone_in_pictures_of_another_size() -> None:
    judge = policy()
    judge.decide([], frame(0, followed(1, (100, 30, 120, 70))))
    assert judge.decide([thing(100)], frame(1)).verdicts == {Verdict.LEFT_ALONE: 1}
    assert judge.decide(*enlarged(frame(2), thing(100))).verdicts == {Verdict.LEFT_ALONE: 1}
    judge.decide(*enlarged(frame(3, followed(2, (20, 30, 40, 70)))))
    assert judge.decide([thing(20)], frame(4)).verdicts == {Verdict.LEFT_ALONE: 1}


def test_lost_object_is_found_in_pictures_of_another_size() -> None:
    judge = policy(lost_wait_s=0.0)
    judge.decide([], frame(0, followed(1, (100, 30, 120, 70), "car")))
    judge.decide([], frame(1, followed(1, None, "car")))
    things, facts = enlarged(frame(2, followed(1, None, "car")), thing(102, label="car"))
    assert judge.decide(things, facts).finds == ((1, things[0]),)
