"""An endless stream: memory, cost and results stay the same."""

from __future__ import annotations

import math
import time
from statistics import median

import numpy as np
import psutil
import pytest
import torch

from tests.tracker.little import LITTLE, assert_same, click, little_picture, little_tracker, step
from tracker import ModelConfig, Session, Tracker
from tracker.config import PRESETS
from tracker.memory.bank import LARGEST_POINTER_AGE, MemoryBank

FRAMES = 3000
MEBIBYTE = 2**20


@pytest.mark.own_process  # what other tests hold or free would count here
@pytest.mark.timeout(600)
def test_three_thousand_frames_cost_the_same_and_leave_nothing_behind() -> None:
    tracker = little_tracker(max_objects=2)
    session = tracker.open_session()
    pictures = [little_picture(index) for index in range(5)]
    process = psutil.Process()
    bank_bytes = tracker.memory_bank_bytes
    costs_s: list[float] = []
    memory_bytes = []
    states = set()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # for so small a network, handing out work costs more than work
    try:
        for index in range(FRAMES):
            prompts = [click(1)] if index == 0 else []
            began_s = time.process_time()
            track = step(tracker, session, pictures[index % 5], *prompts)[1]
            costs_s.append(time.process_time() - began_s)
            states.add(track.state)
            assert math.isfinite(track.predicted_iou)
            assert math.isfinite(track.object_score)
            if index % 500 == 499:
                assert track.logits is not None
                assert np.isfinite(track.logits).all()
                memory_bytes.append(process.memory_info().rss)
    finally:
        torch.set_num_threads(threads)
    assert session.frames_seen == FRAMES
    assert tracker.memory_bank_bytes == bank_bytes
    assert memory_bytes[-1] - memory_bytes[1] < 2 * MEBIBYTE, memory_bytes  # a KiB a frame
    early, late = median(costs_s[300:900]), median(costs_s[-600:])
    # Anything kept per frame would make it several times as much.
    assert late < 2 * early, (early, late)


def started(tracker: Tracker, frames_seen: int) -> Session:
    session = tracker.open_session()
    session.frames_seen = frames_seen
    return session


def test_counters_far_along_give_the_same_as_counters_at_the_start() -> None:
    tracker = little_tracker()
    young, old = started(tracker, 0), started(tracker, 10**6)
    for index in range(30):
        # A prompt again later: a second conditioning frame.
        prompts = [click(1, 20 + index, 30)] if index in (0, 12) else []
        ours = step(tracker, old, little_picture(index % 6), *prompts)[1]
        assert_same(ours, step(tracker, young, little_picture(index % 6), *prompts)[1])


def test_conditioning_frame_stops_growing_older() -> None:
    """Beyond the largest age a million frames more change nothing."""
    tracker = little_tracker()
    results = []
    for gap in (LARGEST_POINTER_AGE, LARGEST_POINTER_AGE + 1, 10**6, 10**12):
        session = tracker.open_session()
        step(tracker, session, little_picture(0), click(1))
        session.frames_seen = gap
        results.append([step(tracker, session, little_picture(i))[1] for i in (1, 2, 3)])
    for later in results[1:]:
        for own, other in zip(later[1:], results[0][1:], strict=True):
            assert_same(own, other)


def test_removed_and_added_objects_leave_nothing_behind() -> None:
    tracker = little_tracker(max_objects=2)
    session = tracker.open_session()
    for index in range(50):
        step(tracker, session, little_picture(index % 5), click(index))
        tracker.correct(session, [click(index, 40, 40)])
        session.remove(index)
        assert tracker.free_slots == 2
    frame = session.last_frame
    assert frame is not None
    assert frame.logits == {}
    assert frame.clicks == {}


def test_stalled_stream_keeps_nothing_of_its_neighbours() -> None:
    """Else every camera that fails would hold the features of all that were beside it."""
    tracker = little_tracker()
    sessions = [tracker.open_session() for _ in range(3)]
    tracker.step([(session, little_picture(0), [click(1)]) for session in sessions])
    for session in sessions:
        frame = session.last_frame
        assert frame is not None
        assert frame.features is not None
        for kept in (*frame.features, *frame.logits.values()):
            assert kept.untyped_storage().nbytes() == kept.nbytes


@pytest.mark.parametrize("name", [name for name in PRESETS if name.startswith(("sam2", "eff"))])
def test_bank_of_an_official_network_holds_at_most_6_mib_for_an_object(name: str) -> None:
    bank = MemoryBank(PRESETS[name], 1, torch.device("meta"))
    assert bank.bytes <= 6 * MEBIBYTE


def test_bank_of_edgetam_holds_less_than_a_mib_for_an_object_at_all_image_sizes_together() -> None:
    bank = MemoryBank(PRESETS["edgetam"], 1, torch.device("meta"))
    bank.add_image_sizes((768, 512))
    assert bank.bytes <= 0.75 * MEBIBYTE


@pytest.mark.parametrize("cap", [2, 4])
def test_first_conditioning_frame_is_never_forgotten(cap: int) -> None:
    config: ModelConfig = LITTLE.replaced(max_conditioning_memories=cap)
    tracker = little_tracker(config=config)
    session = tracker.open_session()
    prompted = [0, 3, 4, 9, 11, 12]
    for index in range(14):
        step(
            tracker, session, little_picture(index % 5), *([click(1)] if index in prompted else [])
        )
    kept = tracker._bank.conditioning_frames(session.slot_of(1))
    assert kept == (0, *prompted[len(prompted) - cap + 1 :])
