"""An overlapping tracker: results are published while the next step is in flight."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from streamer.inference.lifecycle import LifecycleRules
from streamer.inference.prompts.request import PromptRequest
from streamer.runtime.clock import seconds_to_ns
from tests.conftest import eventually
from tests.streamer.fakes import HIDES, FakeClock, picture
from tests.streamer.inference.rig import Rig, click, outcome, running


@pytest.fixture
def rig() -> Iterator[Rig]:
    with running(Rig(overlaps=True)) as made:
        yield made


def put(rig: Rig, stream_id: str, number: int, **appearance: object) -> None:
    """Put a picture and wait until the thread has taken it."""
    rig.slots[stream_id].put(picture(number, **appearance), "session", 0)  # type: ignore[arg-type]
    eventually(lambda: rig.slots[stream_id].waiting_since_monotonic_ns is None)


def held_then(rig: Rig, *streams: tuple[str, int]) -> None:
    """Let these frames wait while the thread is in another step, so that steps overlap."""
    rig.tracker.held.clear()
    first, *others = streams
    put(rig, *first)
    for stream_id, number in others:
        rig.slots[stream_id].put(picture(number), "session", 0)
    rig.tracker.held.set()


def indexes(rig: Rig, stream_id: str) -> list[int]:
    return [result.frame.index for result in rig.published.results(stream_id)]


def test_next_step_is_submitted_before_the_one_before_is_reported(rig: Rig) -> None:
    rig.stream("gate")
    rig.tracker.landed.clear()
    held_then(rig, ("gate", 0), ("gate", 1))
    eventually(lambda: rig.tracker.submitted == 2)
    assert rig.published.results() == []
    rig.tracker.landed.set()
    eventually(lambda: len(rig.published.results()) == 2)
    assert indexes(rig, "gate") == [0, 1]
    assert rig.tracker.most_on_their_way == 2


def test_step_that_nothing_waits_behind_is_reported_at_once(rig: Rig) -> None:
    rig.stream("gate")
    for number in range(5):
        assert rig.frame("gate", number) is not None
    assert rig.tracker.most_on_their_way == 1


def test_results_of_every_stream_come_in_the_order_of_its_frames(rig: Rig) -> None:
    first = {"gate": 2, "yard": 1, "hall": 1}
    for stream_id in first:
        rig.stream(stream_id)
    held_then(rig, ("gate", 0), ("gate", 1), ("yard", 0), ("hall", 0))
    stop = threading.Event()

    def feed(stream_id: str) -> None:
        for number in range(first[stream_id], 60):
            rig.slots[stream_id].wait_until_taken(stop)
            rig.slots[stream_id].put(picture(number), "session", 0)

    threads = [threading.Thread(target=feed, args=(each,)) for each in first]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for stream_id in first:
        eventually(lambda: len(indexes(rig, stream_id)) == 60)  # noqa: B023
        assert indexes(rig, stream_id) == list(range(60))
    assert rig.tracker.most_on_their_way == 2
    for result in rig.published.results():
        assert result.started_monotonic_ns <= result.tracked_monotonic_ns


def test_times_of_a_result_are_when_its_step_was_submitted_and_when_it_landed() -> None:
    clock = FakeClock()
    with running(Rig(clock, overlaps=True)) as rig:
        rig.stream("gate")
        rig.tracker.landed.clear()
        held_then(rig, ("gate", 0), ("gate", 1))
        eventually(lambda: rig.tracker.submitted == 2)
        submitted_ns = clock.now_ns
        clock.advance(0.5)
        rig.tracker.landed.set()
        eventually(lambda: len(rig.published.results()) == 2)
    for result in rig.published.results():
        assert result.started_monotonic_ns <= submitted_ns
        assert result.tracked_monotonic_ns >= submitted_ns + seconds_to_ns(0.5)
    assert rig.value("stage_duration_seconds_sum", stage="track") >= 2 * 0.5


def test_command_finds_the_stream_as_after_all_its_steps(rig: Rig) -> None:
    rig.stream("gate")
    rig.prompt("gate", 7)
    rig.frame("gate", 0)
    rig.tracker.landed.clear()
    held_then(rig, ("gate", 1), ("gate", 2))
    eventually(lambda: rig.tracker.submitted == 3)
    removed = rig.inference.commands.remove_object("gate", 7)
    kept = rig.inference.commands.object_snapshots("gate")
    rig.tracker.landed.set()
    assert removed.result(20) is True
    assert kept.result(20) == []
    assert indexes(rig, "gate") == [0, 1, 2]
    answer = [type(item).__name__ for item in rig.published.items]
    assert answer[-1] == "StreamEvent"  # removed after the results of all steps
    assert len(rig.published.results()[-1].objects) == 1


def test_prompt_is_applied_after_the_step_before_was_reported(rig: Rig) -> None:
    rig.stream("gate")
    rig.tracker.landed.clear()
    held_then(rig, ("gate", 0), ("gate", 1))
    eventually(lambda: rig.tracker.submitted == 2)
    rig.slots["gate"].put(picture(2), "session", 0)
    request = rig.prompt("gate", 7)
    rig.tracker.landed.set()
    assert outcome(request).frame_index == 2
    eventually(lambda: len(rig.published.results()) == 3)
    assert [len(result.objects) for result in rig.published.results()] == [0, 0, 1]


def test_prompt_for_a_past_frame_waits_for_its_result(rig: Rig) -> None:
    rig.stream("gate")
    rig.tracker.landed.clear()
    held_then(rig, ("gate", 0), ("gate", 1))
    eventually(lambda: rig.tracker.submitted == 2)
    request = rig.prompt("gate", 7, preview=True)
    rig.tracker.landed.set()
    assert outcome(request).frame_index == 1


def test_lossless_stream_is_not_stepped_before_its_result_is_out(rig: Rig) -> None:
    """A second result would take the place of the first one in a sink that is slow."""
    rig.stream("file")
    stop = threading.Event()
    rig.tracker.held.clear()
    slot = rig.slots["file"]
    for number in range(2):
        slot.put_when_taken(picture(number), "session", lambda: 0, stop)
        if number == 0:
            eventually(lambda: slot.waiting_since_monotonic_ns is None)
    rig.tracker.landed.clear()
    rig.tracker.held.set()
    eventually(lambda: rig.tracker.submitted == 1)
    rig.tracker.landed.set()
    eventually(lambda: len(rig.published.results()) == 2)
    assert rig.tracker.most_on_their_way == 1


def test_removal_of_what_was_lost_too_long_leaves_nothing_of_it_in_the_next_result() -> None:
    """It is decided while the next step, which searches for the object, is pending."""
    rules = LifecycleRules(occluded_to_lost_ns=0, lost_to_removed_ns=0)
    with running(Rig(rules=rules, overlaps=True)) as rig:
        rig.stream("gate")
        rig.prompt("gate", 7)
        rig.frame("gate", 0)
        rig.frame("gate", 1, colour=HIDES)
        rig.frame("gate", 2, colour=HIDES)
        rig.tracker.landed.clear()
        rig.tracker.held.clear()
        put(rig, "gate", 3, colour=HIDES)
        rig.slots["gate"].put(picture(4), "session", 0)
        rig.tracker.held.set()
        eventually(lambda: rig.tracker.submitted == 5)
        rig.tracker.landed.set()
        eventually(lambda: len(rig.published.results()) == 5)
        kinds = rig.published.event_kinds()
        assert kinds.count("added") == kinds.count("removed") == 1
        assert [len(result.objects) for result in rig.published.results()] == [1, 1, 1, 0, 0]
        assert rig.inference.commands.objects("gate") == []


@pytest.mark.parametrize("next_is_there", [False, True])
def test_step_that_fails_late_is_given_again_stream_by_stream(
    rig: Rig, next_is_there: bool
) -> None:
    rig.stream("gate")
    rig.stream("yard")
    rig.prompt("gate", 7)
    rig.frame("gate", 0)
    rig.frame("yard", 0)
    # The step of both, and then that of one of them alone.
    rig.tracker.failing_late += [RuntimeError("no memory left")] * 2
    rig.tracker.held.clear()
    rig.stream("blocker")
    rig.slots["blocker"].put(picture(), "session", 0)
    eventually(lambda: rig.slots["blocker"].waiting_since_monotonic_ns is None)
    rig.tracker.held.set()
    for number in range(1, 4 if next_is_there else 2):
        for stream_id in ("gate", "yard"):
            rig.slots[stream_id].put(picture(number), "session", 0)
    eventually(lambda: rig.failed("gate") + rig.failed("yard") + rig.failed("blocker") >= 1)
    for stream_id in ("gate", "yard"):
        result = rig.frame(stream_id, 9)
        assert result is not None
        assert indexes(rig, stream_id) == sorted(set(indexes(rig, stream_id)))
        assert len(result.objects) == (stream_id == "gate")
    assert rig.failed("gate") + rig.failed("yard") + rig.failed("blocker") == 1


def test_frames_behind_a_step_that_failed_are_tracked_after_it(rig: Rig) -> None:
    rig.stream("gate")
    rig.tracker.failing_late.append(RuntimeError("no memory left"))
    held_then(rig, ("gate", 0), ("gate", 1))
    eventually(lambda: len(rig.published.results()) == 2)
    assert indexes(rig, "gate") == [0, 1]
    assert rig.failed("gate") == 0
    assert rig.published.events() == []


def test_lost_device_during_a_step_ends_the_thread(rig: Rig) -> None:
    rig.stream("gate")
    request = PromptRequest("gate", click(1))
    rig.inference.commands.prompt(request)
    rig.tracker.failing_late.append(torch.AcceleratorError("the device is gone"))
    rig.slots["gate"].put(picture(), "session", 0)
    eventually(lambda: rig.error is not None)
    assert isinstance(rig.error, torch.AcceleratorError)
    answer = outcome(request)
    assert not answer.applied
    assert answer.reason == "the stream was removed (shutdown)"
    assert rig.tracker.sessions[0].closed


def test_end_waits_for_the_pending_step_and_reports_it(rig: Rig) -> None:
    rig.stream("gate")
    rig.prompt("gate", 7)
    rig.frame("gate", 0)
    rig.tracker.landed.clear()
    held_then(rig, ("gate", 1), ("gate", 2))
    eventually(lambda: rig.tracker.submitted == 3)
    rig.inference.stop()
    rig.tracker.landed.set()
    rig.thread.join(20)
    assert not rig.thread.is_alive()
    assert indexes(rig, "gate") == [0, 1, 2]
    assert rig.published.event_kinds()[-1] == "removed"
