"""The inference thread: batches, prompts, and failures that stay where they are."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from streamer.errors import ControlError
from streamer.inference.box_smoothing import BoxSmoothing, Smoothing
from streamer.inference.command_queue import COMMANDS_WAITING
from streamer.inference.frame_slot import FrameSlot
from streamer.inference.lifecycle import LifecycleRules
from streamer.inference.prompts.request import PromptRequest
from streamer.inference.prompts.waiting import PROMPTS_WAITING
from streamer.inference.stream_counts import StreamCounts
from streamer.runtime.clock import seconds_to_ns
from streamer.types import DropReason
from tests.conftest import eventually
from tests.streamer.fakes import CUTS, FAILS, HIDES, picture
from tests.streamer.inference.rig import Rig, click, outcome, running
from tracker import TrackState

SMOOTHED = Smoothing(BoxSmoothing(), 0.3)


@pytest.fixture(params=[False, True], ids=["each step alone", "steps overlap"])
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    """All of it holds where the device is at the next step already, too."""
    with running(Rig(overlaps=request.param)) as made:
        yield made


def test_frame_without_objects_gives_an_empty_result(rig: Rig) -> None:
    rig.stream("gate")
    result = rig.frame("gate")
    assert result is not None
    assert result.objects == ()
    assert rig.value("frames_tracked_total", stream="gate") == 1


def test_prompt_is_applied_on_the_next_frame_and_answered_before_its_result(rig: Rig) -> None:
    rig.stream("gate")
    request = rig.prompt("gate", 7, "keeper")
    result = rig.frame("gate")
    assert result is not None
    assert [(each.track.object_id, each.label) for each in result.objects] == [(7, "keeper")]
    answer = outcome(request)
    assert (answer.applied, answer.frame_index, answer.reason) == (True, 0, None)
    assert answer.track is not None
    assert answer.track.area == 12
    assert rig.published.event_kinds() == ["added", "prompt_applied"]
    added, applied = rig.published.events()
    assert (added.object_id, added.label, added.frame_index) == (7, "keeper", 0)
    assert applied.request_id == request.request_id
    assert rig.published.items.index(result) == 2
    assert rig.value("prompts_total", result="applied") == 1


def test_configured_prompt_waits_for_its_frame_and_survives_a_reconnection(rig: Rig) -> None:
    early = PromptRequest("gate", click(1))
    late = PromptRequest("gate", click(2), at_frame=2)
    rig.stream("gate", early, late)
    seen = []
    for number in range(5):
        rig.session_ids["gate"] = f"session{number // 3}"
        result = rig.frame("gate", number)
        assert result is not None
        seen.append([each.track.object_id for each in result.objects])
    assert seen == [[1], [1], [1, 2], [1, 2], [1, 2]]
    assert rig.published.event_kinds().count("prompt_applied") == 2
    assert rig.published.event_kinds().count("added") == 2


def test_two_prompts_for_one_object_take_a_frame_each(rig: Rig) -> None:
    rig.stream("gate")
    first, second = rig.prompt("gate", 7), rig.prompt("gate", 7)
    rig.frame("gate", 0)
    rig.frame("gate", 1)
    assert (outcome(first).frame_index, outcome(second).frame_index) == (0, 1)


@pytest.mark.parametrize("ids", [[901], [1, 901], [901, 1], [1, 2, 901, 3, 4], [901, 1, 902, 2]])
def test_refused_prompt_is_reported_and_the_others_are_applied(rig: Rig, ids: list[int]) -> None:
    rig.stream("gate")
    requests = [rig.prompt("gate", object_id) for object_id in ids]
    for number in range(4):
        assert rig.frame("gate", number) is not None
    for request in requests:
        answer = outcome(request)
        assert answer.applied == (answer.object_id < 900)
        assert answer.applied or answer.reason == f"object {answer.object_id} is refused"
    result = rig.frame("gate", 9)
    assert result is not None
    assert {each.track.object_id for each in result.objects} == {i for i in ids if i < 900}
    assert rig.failed("gate") == 0


def test_refused_prompt_costs_other_streams_nothing(rig: Rig) -> None:
    rig.tracker.held.clear()
    rig.stream("blocker")
    rig.slots["blocker"].put(picture(), "session", 0)  # keeps the thread busy meanwhile
    eventually(lambda: rig.slots["blocker"].waiting_since_monotonic_ns is None)
    for stream_id in ("gate", "yard"):
        counts = StreamCounts(stream_id, rig.metrics)
        rig.slots[stream_id] = FrameSlot(stream_id, rig.inference.wake, counts.dropped)
        rig.inference.commands.add_stream(rig.slots[stream_id], counts, 4, [])
    bad, good = rig.prompt("gate", 901), rig.prompt("yard", 1)
    for stream_id in ("gate", "yard"):
        rig.slots[stream_id].put(picture(), "session", 0)
    rig.tracker.held.set()
    assert not outcome(bad).applied
    assert outcome(good).applied
    eventually(lambda: rig.published.results("gate") and rig.published.results("yard"))
    assert rig.failed("gate") == rig.failed("yard") == 0


def test_failing_stream_is_alone_in_its_failure(rig: Rig) -> None:
    rig.stream("gate")
    rig.stream("yard")
    for number in range(6):
        for stream_id in ("gate", "yard"):
            colour = FAILS if stream_id == "gate" and 1 <= number <= 3 else (0, 0, 0)
            rig.slots[stream_id].put(picture(number, colour=colour), "session", 0)
        wanted = number + 1
        eventually(lambda: len(rig.published.results("yard")) == wanted)  # noqa: B023
        eventually(lambda: len(rig.published.results("gate")) + rig.failed("gate") == wanted)  # noqa: B023
    assert len(rig.published.results("yard")) == 6
    assert len(rig.published.results("gate")) == 3
    assert rig.failed("yard") == 0
    assert rig.failed("gate") == 3
    assert rig.published.event_kinds("gate") == ["degraded"]
    after = rig.published.results("gate")[1]
    assert after.frame.dropped_before == {"failed": 3}


def test_prompt_on_a_frame_that_fails_is_rejected_and_leaves_no_object(rig: Rig) -> None:
    rig.stream("gate")
    request = rig.prompt("gate", 7)
    assert rig.frame("gate", 0, colour=FAILS) is None
    assert "this picture cannot be tracked" in str(outcome(request).reason)
    result = rig.frame("gate", 1)
    assert result is not None
    assert result.objects == ()


def test_device_that_is_gone_ends_the_thread_with_its_error(rig: Rig) -> None:
    rig.stream("gate")
    pending = PromptRequest("gate", click(1), at_frame=99)
    rig.inference.commands.prompt(pending)
    rig.tracker.fatal = torch.AcceleratorError("the device is gone")
    rig.slots["gate"].put(picture(), "session", 0)
    eventually(lambda: rig.error is not None)
    assert isinstance(rig.error, torch.AcceleratorError)
    assert not outcome(pending).applied
    with pytest.raises(ControlError, match="stopping"):
        rig.prompt("gate", 2)


def test_streams_that_are_ready_go_as_one_batch(rig: Rig) -> None:
    for number in range(4):
        rig.stream(f"cam{number}")
    rig.tracker.held.clear()
    rig.slots["cam0"].put(picture(), "session", 0)
    eventually(lambda: rig.slots["cam0"].waiting_since_monotonic_ns is None)
    for number in range(4):
        rig.slots[f"cam{number}"].put(picture(), "session", 0)
    rig.tracker.held.set()
    eventually(lambda: len(rig.published.results()) == 5)
    assert rig.tracker.batch_sizes == [1, 4]


def test_lossless_stream_waits_for_slow_sinks_and_live_streams_do_not(rig: Rig) -> None:
    rig.stream("file")
    rig.stream("gate")
    rig.unpublished |= {"file", "gate"}
    stop = threading.Event()
    rig.slots["file"].put_when_taken(picture(), "session", lambda: 0, stop)
    for number in range(3):
        assert rig.frame("gate", number) is not None
    assert rig.published.results("file") == []
    rig.unpublished.clear()
    rig.inference.wake()
    eventually(lambda: rig.published.results("file"))


def test_object_is_hidden_reacquired_and_removed(rig: Rig) -> None:
    rig.stream("gate")
    rig.prompt("gate", 7, "keeper")
    rig.frame("gate", 0)
    hidden = rig.frame("gate", 1, colour=HIDES)
    assert hidden is not None
    assert hidden.objects[0].track.state is TrackState.OCCLUDED
    assert rig.value("tracked_objects", stream="gate", state="occluded") == 1
    rig.frame("gate", 2)
    lost = [rig.frame("gate", number, colour=HIDES) for number in (3, 200)][-1]
    assert lost is not None
    assert lost.objects[0].track.state is TrackState.LOST
    assert rig.inference.commands.remove_object("gate", 7).result(20) is True
    assert rig.inference.commands.remove_object("gate", 7).result(20) is False
    kinds = [kind for kind in rig.published.event_kinds() if kind != "prompt_applied"]
    assert kinds == ["added", "occluded", "reacquired", "occluded", "lost", "removed"]
    removed = rig.published.events()[-1]
    assert (removed.reason, removed.label) == ("requested", "keeper")
    result = rig.frame("gate", 201)
    assert result is not None
    assert result.objects == ()


def test_scene_cut_is_reported_before_what_it_hides(rig: Rig) -> None:
    rig.stream("gate")
    rig.prompt("gate", 7)
    for number, colour in enumerate([(0, 0, 0), CUTS, (0, 0, 0)]):
        rig.frame("gate", number, colour=colour)
    events = rig.published.events()
    assert [str(event.kind) for event in events] == ["added", "prompt_applied", "scene_cut"]
    assert (events[-1].frame_index, events[-1].object_id) == (1, None)


def test_tracker_is_reported_of_pictures_that_it_did_not_see(rig: Rig) -> None:
    slot = rig.stream("gate")
    for number in range(3):
        rig.frame("gate", number)
    slot.refuse(DropReason.RATE_LIMIT)
    slot.refuse(DropReason.RATE_LIMIT)
    rig.frame("gate", 5)
    rig.session_ids["gate"] = "another"
    rig.frame("gate", 5 + 250)  # ten seconds later
    assert list(rig.tracker.sessions[0].gaps) == [2, 249]


def test_frame_that_failed_belongs_to_the_gap(rig: Rig) -> None:
    rig.stream("gate")
    for number in range(4):
        rig.frame("gate", number, colour=FAILS if number in (1, 2) else (0, 0, 0))
    assert list(rig.tracker.sessions[0].gaps) == [1, 1]


def test_smoothed_boxes_come_beside_the_boxes_while_they_are_asked_for(rig: Rig) -> None:
    rig.stream("gate")
    rig.prompt("gate", 7)
    rig.inference.commands.change_stream("gate", smoothing=SMOOTHED).result(20)
    seen, hidden = rig.frame("gate", 0), rig.frame("gate", 1, colour=HIDES)
    rig.inference.commands.change_stream("gate", smoothing=Smoothing()).result(20)
    plain = rig.frame("gate", 2)
    assert seen is not None
    assert hidden is not None
    assert plain is not None
    smooth = [result.objects[0].smooth_box_xyxy for result in (seen, hidden, plain)]
    assert smooth == [(0.0, 0.0, 4.0, 3.0), None, None]
    rig.inference.commands.change_stream("nowhere", smoothing=SMOOTHED).result(20)


def test_events_report_reason_and_duration(rig: Rig) -> None:
    rig.stream("gate")
    rig.prompt("gate", 7)
    for number, appearance in [
        (0, {}),
        (1, {"colour": HIDES}),
        (126, {"colour": HIDES}),
        (151, {}),
    ]:
        rig.frame("gate", number, **appearance)
    answer = [
        (str(event.kind), event.reason, event.absent_s, event.frame_index)
        for event in rig.published.events()
    ]
    assert answer == [
        ("added", None, None, 0),
        ("prompt_applied", None, None, 0),
        ("occluded", "left_picture", None, 1),
        ("lost", "left_picture", 5.0, 2),
        ("reacquired", None, 6.0, 3),
    ]


def test_lost_object_costs_a_step_now_and_then_and_is_removed_in_the_end() -> None:
    rules = LifecycleRules(
        occluded_to_lost_ns=seconds_to_ns(1.0),
        lost_to_removed_ns=seconds_to_ns(8.0),
        lost_search_every=4,
    )
    with running(Rig(rules=rules)) as rig:
        rig.stream("gate")
        rig.prompt("gate", 7, "keeper")
        rig.prompt("gate", 8)
        rig.frame("gate", 0)
        for second in range(1, 10):
            result = rig.frame("gate", second * 25, colour=HIDES)
            assert result is not None
            assert [each.track.object_id for each in result.objects] == [7, 8]
            assert result.objects[0].label == "keeper"
            # Lost from the second hidden frame on; searched for in turns from the third on.
            assert len(rig.tracker.searched[-1]) <= (2 if second <= 2 else 1)
        last = rig.frame("gate", 250, colour=HIDES)
        assert last is not None
        assert last.objects == ()
        removed = [event for event in rig.published.events() if event.kind == "removed"]
        assert [(each.object_id, each.label) for each in removed] == [(7, "keeper"), (8, None)]
        assert {(each.reason, each.absent_s) for each in removed} == {("lost_too_long", 9.0)}
        assert rig.inference.commands.objects("gate") == []
        prompted = rig.prompt("gate", 7)
        again = rig.frame("gate", 251)
        assert outcome(prompted).applied
        assert again is not None
        assert [each.track.object_id for each in again.objects] == [7]


def test_lost_object_is_searched_for_after_a_prompt() -> None:
    rules = LifecycleRules(occluded_to_lost_ns=0, lost_search_every=1000)
    with running(Rig(rules=rules)) as rig:
        rig.stream("gate")
        rig.prompt("gate", 7)
        rig.frame("gate", 0)
        for number in range(1, 5):
            rig.frame("gate", number, colour=HIDES)
        assert rig.tracker.searched[-1] == set()
        rig.prompt("gate", 7)
        back = rig.frame("gate", 5)
        assert back is not None
        assert back.objects[0].track.state is TrackState.VISIBLE
        assert rig.published.events()[-2].reason == "prompted"


def test_removed_stream_gives_its_objects_and_prompts_up(rig: Rig) -> None:
    rig.stream("gate")
    rig.prompt("gate", 7)
    rig.frame("gate")
    waiting = PromptRequest("gate", click(8), at_frame=100)
    rig.inference.commands.prompt(waiting)
    rig.inference.commands.remove_stream("gate", "stream_removed").result(20)
    assert "removed" in str(outcome(waiting).reason)
    assert rig.tracker.sessions[0].closed
    assert rig.published.events()[-1].kind == "removed"
    late = rig.prompt("gate", 9)
    assert outcome(late).reason == "there is no stream 'gate'"


def test_withdrawn_prompt_is_not_applied(rig: Rig) -> None:
    rig.stream("gate")
    request = rig.prompt("gate", 7)
    assert request.outcome.cancel()
    result = rig.frame("gate")
    assert result is not None
    assert result.objects == ()
    assert rig.published.event_kinds() == ["prompt_rejected"]


def test_prompts_beyond_the_bound_are_rejected_at_once(rig: Rig) -> None:
    rig.stream("gate")
    requests = [rig.prompt("gate", number) for number in range(PROMPTS_WAITING + 1)]
    assert "64 prompts wait" in str(outcome(requests[-1]).reason)
    assert not requests[0].outcome.done()


def test_withdrawn_prompts_give_their_places_while_no_frame_comes(rig: Rig) -> None:
    rig.stream("gate")
    withdrawn = [rig.prompt("gate", number) for number in range(PROMPTS_WAITING)]
    assert all(request.outcome.cancel() for request in withdrawn)
    wanted = rig.prompt("gate", 500)
    rig.frame("gate")
    assert outcome(wanted).applied


def test_commands_beyond_the_bound_are_refused(rig: Rig) -> None:
    rig.stream("gate")
    rig.tracker.held.clear()
    rig.slots["gate"].put(picture(), "session", 0)
    eventually(lambda: rig.slots["gate"].waiting_since_monotonic_ns is None)
    commands = rig.inference.commands
    answers = [commands.remove_object("gate", number) for number in range(COMMANDS_WAITING)]
    with pytest.raises(ControlError, match="256 commands wait"):
        commands.remove_object("gate", 1)
    rig.tracker.held.set()
    assert [answer.result(20) for answer in answers] == [False] * COMMANDS_WAITING


def test_cancelled_command_is_not_executed(rig: Rig) -> None:
    rig.stream("gate")
    rig.prompt("gate", 7)
    rig.frame("gate", 0)
    rig.tracker.held.clear()
    rig.slots["gate"].put(picture(), "session", 0)
    eventually(lambda: rig.slots["gate"].waiting_since_monotonic_ns is None)
    assert rig.inference.commands.remove_object("gate", 7).cancel()
    rig.tracker.held.set()
    result = rig.frame("gate", 1)
    assert result is not None
    assert len(result.objects) == 1


def test_stage_times_and_gauges_are_measured(rig: Rig) -> None:
    rig.stream("gate")
    rig.frame("gate")
    for stage in ("wait", "track"):
        assert rig.value("stage_duration_seconds_count", stage=stage) == 1
    assert rig.value("memory_bank_bytes", device="cpu") == 4096
    assert rig.value("batch_size_count") == 1


def test_stop_that_comes_just_before_the_thread_waits_is_not_missed() -> None:
    rig = Rig()

    class StoppedWhileClearing(threading.Event):
        def clear(self) -> None:
            rig.inference.stop()
            super().clear()

    rig.inference._awake = StoppedWhileClearing()
    rig.thread.start()
    rig.thread.join(4)
    missed = rig.thread.is_alive()
    rig.inference.stop()
    rig.thread.join(20)
    assert not missed
