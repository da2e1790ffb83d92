"""Steps that are submitted before the one before was collected: the same tracks, in every order."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence

import numpy as np
import psutil
import pytest
import torch

from tracker import RobustOptions, Session, SessionError, Track, Tracker, TrackerOptions
from tracker.engine.options import EngineOptions
from tracker.host_arrays import Landing
from tracker.memory_bank import MemoryBank
from tracker.pending_step import PendingStep
from tracker.policy.robust_bank import RobustBank
from tracker.results import Delivery

from .agreement.scripts import model_with, shapes_of
from .agreement.weights import amplified_weights
from .little import LITTLE, click, little_picture
from .policy.test_robust_tracker import PLAIN
from .test_device_waits import Counting, Reads, Waits

FRAMES = 12
MEBIBYTE = 2**20
POLICIES = pytest.mark.parametrize("robust", [None, PLAIN], ids=["sam2", "robust"])
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def tracker_of(
    robust: RobustOptions | None, *, landing: bool = True, device: str = "cpu"
) -> Tracker:
    """One that takes the way of a device: whole masks, which land in buffers of their own."""
    options = TrackerOptions(
        max_objects=8,
        non_overlap=True,
        return_logits=True,
        compute_dtype="float32",
        memory_policy="sam2" if robust is None else "robust",
        robust=robust or RobustOptions(),
        engine=EngineOptions(smaller_image_sizes=(32,)),
    )
    weights = amplified_weights(shapes_of(LITTLE), seed=1, object_score_bias=4.0)
    tracker = Tracker(model_with(LITTLE, weights), torch.device(device), options)
    if landing and device == "cpu":
        tracker._frame_step._landing = Landing(pinned=False)
    return tracker


def assert_identical(ours: Sequence[Track], theirs: Sequence[Track]) -> None:
    assert [track.object_id for track in ours] == [track.object_id for track in theirs]
    for own, other in zip(ours, theirs, strict=True):
        for name in (
            "state",
            "box_xyxy",
            "area",
            "predicted_iou",
            "object_score",
            "pointer_similarity",
            "predicted_box_xyxy",
        ):
            assert getattr(own, name) == getattr(other, name), name
        np.testing.assert_array_equal(own.crop, other.crop)
        np.testing.assert_array_equal(own.logits, other.logits)


class Ahead:
    """Submits every step before it collects the one before; ``step`` gives what was collected."""

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker
        self.results: list[list[list[Track]]] = []
        self._before: PendingStep | None = None

    def step(self, batch: Sequence[tuple[Session, np.ndarray, list]]) -> None:
        pending = self.tracker.submit(batch)
        self.end()
        self._before = pending

    def end(self) -> None:
        if self._before is not None:
            self.results.append(self._before.collect())
            self._before = None


def script(index: int) -> list[list]:
    """Prompts of two streams: new objects, several on a frame, a click on one that is tracked."""
    first = {0: [click(1), click(2, 45, 40)], 6: [click(2, 40, 44)], 9: [click(5, 9, 9)]}
    second = {3: [click(3)], 8: [click(4, 45, 9)]}
    return [first.get(index, []), second.get(index, [])]


@POLICIES
def test_steps_submitted_ahead_find_the_same_bit_for_bit(robust: RobustOptions | None) -> None:
    plain, ahead = tracker_of(robust, landing=False), Ahead(tracker_of(robust))
    expected = []
    sessions = [[each.open_session() for _ in range(2)] for each in (plain, ahead.tracker)]
    for both in sessions:
        both[1].smooth_masks(0.3)
    for index in range(FRAMES):
        batches = [
            [
                (session, little_picture(index + 5 * place, 50, 61), prompts)
                for place, (session, prompts) in enumerate(zip(both, script(index), strict=True))
                if index % 4 or place == 0  # the second stream is slower
            ]
            for both in sessions
        ]
        expected.append(plain.step(batches[0]))
        ahead.step(batches[1])
    ahead.end()
    for own, other in zip(ahead.results, expected, strict=True):
        for ours, theirs in zip(own, other, strict=True):
            assert_identical(ours, theirs)
    for ours, theirs in zip(sessions[1], sessions[0], strict=True):
        assert ours.frames_seen == theirs.frames_seen
        assert ours.last_step == theirs.last_step


def remove(tracker: Tracker, session: Session) -> object:
    return session.remove(2)


def export(tracker: Tracker, session: Session) -> object:
    memory = session.export_object(1)
    return memory.age_F.tolist(), memory.pointer_FC.tolist()


def take_up(tracker: Tracker, session: Session) -> object:
    return session.import_object(7, session.export_object(1))


def correct(tracker: Tracker, session: Session) -> object:
    return tracker.correct(session, [click(1, 9, 50)]).tracks[0].logits.tolist()  # type: ignore[union-attr]


def correct_earlier(tracker: Tracker, session: Session) -> object:
    # The second object was started on the newest frame: what was found there stands.
    correction = tracker.correct(session, [click(1, 9, 50), click(8, 9, 9)], 2)
    return [track.logits.tolist() for track in correction.latest if track.logits is not None]


def preview(tracker: Tracker, session: Session) -> object:
    return tracker.preview(session, click(1, 9, 50)).logits.tolist()  # type: ignore[union-attr]


def smooth(tracker: Tracker, session: Session) -> object:
    return session.smooth_masks(0.4)


def close_another(tracker: Tracker, session: Session) -> object:
    other = tracker.open_session()
    tracker.submit([(other, little_picture(3), [click(1)])])
    other.close()
    return tracker.free_slots


def go_on_smaller(tracker: Tracker, session: Session) -> object:
    return tracker.set_image_size(32)


def miss_frames(tracker: Tracker, session: Session) -> object:
    return session.note_gap(3)


@POLICIES
@pytest.mark.parametrize(
    "between",
    [
        remove,
        export,
        take_up,
        correct,
        correct_earlier,
        preview,
        smooth,
        close_another,
        go_on_smaller,
        miss_frames,
    ],
)
def test_what_comes_between_finds_the_session_after_the_step(
    between: Callable[[Tracker, Session], object], robust: RobustOptions | None
) -> None:
    """Whether it was collected yet or not makes no difference."""

    def run(collects_first: bool) -> tuple[object, list[list[Track]]]:
        tracker = tracker_of(robust)
        session = tracker.open_session(history_frames=6)
        session.smooth_masks(0.2)
        found, answer = [], None
        for index in range(9):
            prompts = {0: [click(1), click(2, 50, 50)], 5: [click(8, 9, 9)]}.get(index, [])
            pending = tracker.submit([(session, little_picture(index), prompts)])
            if collects_first:
                pending.collect()
            if index == 5:
                answer = between(tracker, session)
            found += pending.collect()
        return answer, found

    (answer, ours), (expected, theirs) = run(False), run(True)
    assert answer == expected
    for own, other in zip(ours, theirs, strict=True):
        assert_identical(own, other)


def test_collected_twice_is_the_same_and_of_a_closed_session_it_is_still_told() -> None:
    tracker = tracker_of(None)
    session = tracker.open_session()
    pending = tracker.submit([(session, little_picture(0), [click(1)])])
    session.close()
    assert tracker.free_slots == 8
    ((track,),) = pending.collect()
    assert track.object_id == 1
    assert pending.collect() is pending.collect()
    assert pending.frame_indexes == [0]


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
        owner, name = Delivery, "tracks"  # who is not asked cannot fail
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


def test_device_that_is_gone_is_told_at_once_and_nothing_waits_for_it(
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


def test_one_step_may_be_on_its_way_an_older_one_is_finished_first() -> None:
    tracker, plain = tracker_of(None), tracker_of(None)
    session, other = tracker.open_session(), plain.open_session()
    pending = [
        tracker.submit([(session, little_picture(index), [click(1)] if index == 0 else [])])
        for index in range(5)
    ]
    assert len(tracker._steps._on_their_way) == 2
    for index, step in enumerate(pending):
        theirs = plain.step([(other, little_picture(index), [click(1)] if index == 0 else [])])
        assert_identical(step.collect()[0], theirs[0])
    assert len(tracker._steps._on_their_way) == 0


def test_what_is_left_out_is_left_out_of_the_next_step_that_is_submitted() -> None:
    """Also where it is said after the step before was submitted, and before it is collected."""
    ahead = Ahead(tracker_of(None))
    session = ahead.tracker.open_session()
    for index in range(6):
        ahead.step([(session, little_picture(index), [click(1), click(2)] if index == 0 else [])])
        session.leave_out([1] if index in (1, 3) else [])
    ahead.end()
    searched = [[track.object_id for track in tracks] for (tracks,) in ahead.results]
    assert searched == [[1, 2], [1, 2], [2], [1, 2], [2], [1, 2]]


@POLICIES
def test_submitting_reads_nothing_and_waits_for_nothing(robust: RobustOptions | None) -> None:
    tracker = tracker_of(robust)
    landing = tracker._frame_step._landing = Counting()
    session = tracker.open_session()
    before: PendingStep | None = None
    for index in range(6):
        prompts = {0: [click(1), click(2)], 3: [click(1, 40, 40)]}.get(index, [])
        with Reads() as reads, Waits() as waits:
            pending = tracker.submit([(session, little_picture(index), prompts)])
        assert reads.found == []
        assert waits.found == []
        if before is not None:
            before.collect()
        before = pending
    assert landing.transfers == 6


def test_results_that_nobody_read_are_moved_before_others_land_in_their_place() -> None:
    landing = Landing(pinned=False)
    numbers = [torch.full((50,), float(value)) for value in range(4)]
    transfers = [landing.begin([each, each.to(torch.uint8)]) for each in numbers]
    for value, transfer in enumerate(transfers):
        first, second = transfer.arrays()
        assert (first == value).all()
        assert (second == value).all()
    assert landing.bytes == 2 * 272  # 200 and 50 bytes, each filled up to 16


@pytest.mark.timeout(600)
def test_two_thousand_steps_submitted_ahead_leave_nothing_behind() -> None:
    ahead = Ahead(tracker_of(PLAIN))
    session = ahead.tracker.open_session()
    landing = ahead.tracker._frame_step._landing
    assert landing is not None
    pictures = [little_picture(index) for index in range(5)]
    process, resident, held = psutil.Process(), [], []
    for index in range(2000):
        prompts = [click(index, 20, 30)] if index % 40 == 0 else []
        if prompts and index:
            session.remove(index - 40)  # objects come and go
        ahead.step([(session, pictures[index % 5], prompts)])
        ahead.results.clear()
        if index % 500 == 499:
            gc.collect()
            resident.append(process.memory_info().rss)
            held.append((landing.bytes, len(gc.get_objects()) // 1000))
        assert len(ahead.tracker._steps._on_their_way) == 1
    assert held[0][0] == held[-1][0]
    assert held[-1][1] - held[0][1] <= 1, held
    assert resident[-1] - resident[0] < 8 * MEBIBYTE, resident


@pytest.mark.gpu
@needs_cuda
@POLICIES
def test_on_a_device_submitting_synchronises_nothing(robust: RobustOptions | None) -> None:
    """Not run by us. Events are waited for by ``collect``, and by the robust policy's ``submit``
    for the step before; neither counts as a synchronisation of the device."""
    tracker = tracker_of(robust, device="cuda")
    tracker.warm_up()
    session = tracker.open_session()
    # Once as it will be: shapes of prompts are met, graphs and pinned memory are made.
    for index in range(8):
        prompts = {0: [click(1), click(2)], 3: [click(1, 40, 40)]}.get(index, [])
        tracker.step([(session, little_picture(index), prompts)])
    session.remove(1)
    session.remove(2)
    before: PendingStep | None = None
    for index in range(8):
        prompts = {0: [click(1), click(2)], 3: [click(1, 40, 40)]}.get(index, [])
        torch.cuda.set_sync_debug_mode("error")
        try:
            pending = tracker.submit([(session, little_picture(index), prompts)])
        finally:
            torch.cuda.set_sync_debug_mode("default")
        if before is not None:
            before.collect()
        before = pending


@pytest.mark.gpu
@needs_cuda
@POLICIES
def test_on_a_device_steps_submitted_ahead_find_the_same(robust: RobustOptions | None) -> None:
    """Not run by us."""
    plain, ahead = tracker_of(robust, device="cuda"), Ahead(tracker_of(robust, device="cuda"))
    assert ahead.tracker.overlaps
    session, other = ahead.tracker.open_session(), plain.open_session()
    for index in range(30):
        prompts = {0: [click(1), click(2)], 3: [click(1, 40, 40)]}.get(index, [])
        ahead.step([(session, little_picture(index), prompts)])
        theirs = plain.step([(other, little_picture(index), prompts)])
        ahead.end()
        assert_identical(ahead.results[-1][0], theirs[0])
