"""Prompts for past frames: applied there and reported, or rejected with the reason."""

from __future__ import annotations

import pytest
import torch

from streamer.inference.command_queue import COMMANDS_WAITING
from streamer.inference.prompts.recent_frames import HELD_FOR_S, Holder
from streamer.inference.prompts.request import PromptRequest
from streamer.inference.prompts.waiting import PROMPTS_WAITING
from streamer.types import FrameReference
from tests.conftest import eventually
from tests.streamer.fakes import FAILS, FakeClock, picture
from tests.streamer.inference.rig import Rig, click, outcome


def at(frame_index: int) -> FrameReference:
    return FrameReference(frame_index=frame_index)


def run_frames(rig: Rig, count: int, first: int = 0) -> None:
    for number in range(first, first + count):
        rig.frame("gate", number)


def test_prompt_is_applied_to_its_frame_without_waiting_for_another(rig: Rig) -> None:
    rig.stream("gate")
    run_frames(rig, 5)
    request = rig.prompt("gate", 7, "keeper", colour="#102030", reference=at(2))
    answer = outcome(request)
    assert (answer.applied, answer.frame_index, answer.latest_frame_index) == (True, 2, 4)
    assert answer.track is not None
    assert answer.latest_track is not None
    assert rig.tracker.corrections == [((7,), 2, True)]
    added, applied = rig.published.events()
    assert (added.kind, added.label, added.frame_index) == ("added", "keeper", 4)
    assert (applied.kind, applied.request_id) == ("prompt_applied", request.request_id)
    assert (applied.frame_index, applied.object_id) == (2, 7)
    assert rig.value("prompts_total", result="applied") == 1
    # Known at once, also for a stream that sends no further frames.
    (summary,) = rig.inference.commands.objects("gate")
    assert (summary.object_id, summary.label, summary.colour) == (7, "keeper", "#102030")
    assert (summary.frame_index, summary.area) == (4, 12)
    result = rig.frame("gate", 5)
    assert result is not None
    assert [(each.track.object_id, each.colour) for each in result.objects] == [(7, "#102030")]
    assert rig.published.event_kinds().count("added") == 1


def test_frame_numbers_are_those_of_the_camera_not_of_the_tracker(rig: Rig) -> None:
    slot = rig.stream("gate")
    rig.tracker.held.clear()
    for number in range(4):  # 1 and 2 are superseded while 0 is tracked
        slot.put(picture(number), "session", 0)
        if number == 0:
            eventually(lambda: slot.waiting_since_monotonic_ns is None)
    rig.tracker.held.set()
    eventually(lambda: len(rig.published.results()) == 2)
    assert outcome(rig.prompt("gate", 7, reference=at(3))).frame_index == 3
    assert rig.tracker.corrections == [((7,), 1, True)]
    assert "was not tracked" in str(outcome(rig.prompt("gate", 8, reference=at(2))).reason)


def test_correction_refines_a_followed_object_and_refuses_another(rig: Rig) -> None:
    rig.stream("gate")
    rig.prompt("gate", 7)
    run_frames(rig, 3)
    assert outcome(rig.prompt("gate", 7, correct=True)).frame_index == 2
    assert outcome(rig.prompt("gate", 7, correct=True, reference=at(1))).frame_index == 1
    assert rig.tracker.corrections == [((7,), 2, False), ((7,), 1, False)]
    refused = outcome(rig.prompt("gate", 8, correct=True))
    assert refused.reason == "object 8: it is not tracked, so there is nothing to correct"


@pytest.mark.parametrize(
    ("reference", "reason"),
    [(at(0), "too old"), (at(99), "still to come"), (FrameReference(session_id="x"), "connection")],
)
def test_frame_that_cannot_be_prompted_is_refused_with_the_reason(
    rig: Rig, reference: FrameReference, reason: str
) -> None:
    rig.stream("gate")
    run_frames(rig, 40)  # a second has 25
    request = rig.prompt("gate", 7, reference=reference)
    answer = outcome(request)
    assert not answer.applied
    assert reason in str(answer.reason)
    assert "1.00 s) can be prompted" in str(answer.reason) or reason == "connection"
    (event,) = rig.published.events()
    assert (event.kind, event.request_id) == ("prompt_rejected", request.request_id)
    assert event.reason == answer.reason
    assert rig.inference.commands.objects("gate") == []


def test_stream_without_a_frame_cannot_be_corrected(rig: Rig) -> None:
    rig.stream("gate")
    assert "no frame" in str(outcome(rig.prompt("gate", 7, reference=at(0))).reason)


def test_refused_prompt_costs_those_beside_it_nothing(rig: Rig) -> None:
    rig.stream("gate")
    run_frames(rig, 2)
    with rig.tracker_busy("gate"):
        requests = [rig.prompt("gate", each, reference=at(1)) for each in (1, 901, 2)]
    assert [outcome(request).applied for request in requests] == [True, False, True]
    assert outcome(requests[1]).reason == "object 901 is refused"


def test_prompts_for_one_frame_are_applied_together_and_for_one_object_in_turn(rig: Rig) -> None:
    rig.stream("gate")
    run_frames(rig, 3)
    with rig.tracker_busy("gate"):
        requests = [rig.prompt("gate", each, reference=at(1)) for each in (1, 2, 1)]
        requests.append(rig.prompt("gate", 3, reference=at(2)))
    assert all(outcome(request).applied for request in requests)
    assert rig.tracker.corrections == [((1, 2), 1, True), ((1,), 1, True), ((3,), 2, True)]


def test_frames_continue_between_two_prompts(rig: Rig) -> None:
    rig.stream("gate")
    run_frames(rig, 3)
    before = len(rig.published.results())
    with rig.tracker_busy("gate"):
        for number in range(3):
            rig.prompt("gate", 1 + number, reference=at(number))
        last = rig.prompt("gate", 9, reference=at(0))
        rig.slots["gate"].put(picture(11), "session", 0)
    assert outcome(last).applied
    kinds = [type(item).__name__ for item in rig.published.items]
    results = [place for place, kind in enumerate(kinds) if kind == "FrameResult"][before:]
    applied = [
        place
        for place, item in enumerate(rig.published.items)
        if getattr(item, "kind", "") == "prompt_applied"
    ]
    assert any(applied[0] < place < applied[-1] for place in results)


def test_failing_correction_is_reported_and_the_stream_continues(rig: Rig) -> None:
    rig.stream("gate")
    run_frames(rig, 2)
    rig.tracker.sessions[0].images[1][:] = FAILS
    answer = outcome(rig.prompt("gate", 7, reference=at(1)))
    assert answer.reason == "the tracker failed: this picture cannot be tracked"
    assert rig.frame("gate", 2) is not None


def test_device_that_is_gone_ends_the_thread(rig: Rig) -> None:
    rig.stream("gate")
    run_frames(rig, 1)
    rig.tracker.fatal = torch.AcceleratorError("the device is gone")
    assert "the device is gone" in str(outcome(rig.prompt("gate", 7, reference=at(0))).reason)
    eventually(lambda: isinstance(rig.error, torch.AcceleratorError))


def test_withdrawn_and_unwanted_prompts_are_not_applied(rig: Rig) -> None:
    rig.stream("gate")
    run_frames(rig, 2)
    with rig.tracker_busy("gate"):
        first = rig.prompt("gate", 1, reference=at(0))
        withdrawn = rig.prompt("gate", 2, reference=at(0))
        assert withdrawn.outcome.cancel()
        removed = rig.prompt("gate", 3, reference=at(1))
        rig.inference.commands.remove_object("gate", 3)
        late = rig.prompt("gate", 4, reference=at(1))
    assert outcome(first).applied
    assert outcome(removed).reason == "the object was removed"
    assert outcome(late).applied
    assert {each for ids, _, _ in rig.tracker.corrections for each in ids} == {1, 4}
    rejected = [each for each in rig.published.events() if each.kind == "prompt_rejected"]
    assert {each.object_id for each in rejected} == {2, 3}


def test_removed_stream_rejects_what_waits_for_its_past(rig: Rig) -> None:
    rig.stream("gate")
    run_frames(rig, 2)
    with rig.tracker_busy("gate"):
        waiting = rig.prompt("gate", 3, reference=at(1))
        rig.inference.commands.remove_stream("gate", "stream_removed")
    assert outcome(waiting).reason == "the stream was removed (stream_removed)"


def test_prompts_beyond_the_bound_are_rejected(rig: Rig) -> None:
    rig.stream("gate")
    run_frames(rig, 2)
    with rig.tracker_busy("gate"):
        requests = [rig.prompt("gate", 1, reference=at(1)) for _ in range(PROMPTS_WAITING + 1)]
    assert "64 prompts for earlier frames wait" in str(outcome(requests[-1]).reason)
    assert outcome(requests[0]).applied
    assert PROMPTS_WAITING < COMMANDS_WAITING


def test_preview_publishes_nothing_and_adds_no_object(rig: Rig) -> None:
    rig.stream("gate")
    run_frames(rig, 4)
    answer = outcome(rig.prompt("gate", 7, preview=True, reference=at(1)))
    assert (answer.applied, answer.frame_index, answer.latest_track) == (True, 1, None)
    assert answer.track is not None
    refused = outcome(rig.prompt("gate", 901, preview=True))
    assert (refused.applied, refused.reason) == (False, "object 901 is refused")
    assert rig.published.events() == []
    assert rig.inference.commands.objects("gate") == []
    result = rig.frame("gate", 4)
    assert result is not None
    assert result.objects == ()


def test_previewed_frame_can_be_confirmed_when_its_time_is_over() -> None:
    clock = FakeClock()
    rig = Rig(clock)
    rig.thread.start()
    try:
        rig.stream("gate")
        run_frames(rig, 3)
        assert outcome(rig.prompt("gate", 7, preview=True, reference=at(1))).applied
        run_frames(rig, 60, first=100)
        assert "too old" in str(outcome(rig.prompt("gate", 8, reference=at(2))).reason)
        answer = outcome(rig.prompt("gate", 7, reference=at(1)))
        assert (answer.applied, answer.frame_index) == (True, 1)
        clock.advance(HELD_FOR_S)
        assert "too old" in str(outcome(rig.prompt("gate", 9, reference=at(1))).reason)
        assert rig.tracker.sessions[0].held == {}
    finally:
        rig.inference.stop()
        rig.thread.join(20)


def test_frame_held_by_a_starter_can_be_prompted_after_it_expired(rig: Rig) -> None:
    rig.stream("gate")
    run_frames(rig, 3)
    rig.inference.commands.hold("gate", at(1), Holder.STARTER).result(20)
    assert outcome(rig.prompt("gate", 7, preview=True, reference=at(2))).applied  # holds its own
    run_frames(rig, 60, first=100)
    for index in (1, 2):
        assert outcome(rig.prompt("gate", 7, reference=at(index))).frame_index == index
    assert "too old" in str(outcome(rig.prompt("gate", 8, reference=at(0))).reason)
    rig.inference.commands.hold("gate", at(0), Holder.STARTER).result(20)  # is gone
    rig.inference.commands.hold("nowhere", at(0), Holder.STARTER).result(20)
    assert rig.frame("gate", 200) is not None


def test_frame_before_the_newest_can_be_prompted_however_slow_the_tracker_is(rig: Rig) -> None:
    rig.stream("gate")
    for index in (0, 100, 200):  # four seconds apart
        rig.frame("gate", index)
    assert outcome(rig.prompt("gate", 7, reference=at(1))).applied
    assert not outcome(rig.prompt("gate", 7, reference=at(0))).applied


def test_history_of_no_length_holds_the_newest_frame() -> None:
    rig = Rig(history_s=0)
    rig.thread.start()
    try:
        rig.stream("gate")
        run_frames(rig, 3)
        assert outcome(rig.prompt("gate", 7, reference=at(2))).applied
        assert not outcome(rig.prompt("gate", 7, reference=at(1))).applied
    finally:
        rig.inference.stop()
        rig.thread.join(20)


def test_objects_are_renamed_and_coloured(rig: Rig) -> None:
    rig.stream("gate")
    rig.prompt("gate", 7, "keeper")
    rig.frame("gate", 0)
    rename = rig.inference.commands.rename_object
    assert rename("gate", 7, None, "#00ff00").result(20) is True
    (summary,) = rig.inference.commands.objects("gate")
    assert (summary.label, summary.colour) == ("keeper", "#00ff00")
    assert rename("gate", 7, "", None).result(20) is True
    result = rig.frame("gate", 1)
    assert result is not None
    assert [(each.label, each.colour) for each in result.objects] == [(None, "#00ff00")]
    assert rename("gate", 8, "x", None).result(20) is False
    assert rename("yard", 7, "x", None).result(20) is False
    rig.inference.commands.remove_object("gate", 7).result(20)
    assert rig.inference.commands.objects("gate") == []
    assert rig.inference.commands.objects("yard") == []


def test_memory_of_the_history_is_measured() -> None:
    clock = FakeClock()
    rig = Rig(clock)
    rig.thread.start()
    try:
        rig.stream("gate")
        run_frames(rig, 3)
        clock.advance(2.0)
        rig.inference.wake()
        eventually(lambda: rig.value("history_bytes", device="cpu") == 3 * 32 * 24 * 3)
    finally:
        rig.inference.stop()
        rig.thread.join(20)


def test_request_for_the_past_is_reported_from_one_for_the_next_frame() -> None:
    assert not PromptRequest("gate", click(1)).is_retroactive
    assert PromptRequest("gate", click(1), reference=FrameReference()).is_retroactive
    assert PromptRequest("gate", click(1), correct=True).is_retroactive
    assert PromptRequest("gate", click(1), preview=True).is_retroactive
