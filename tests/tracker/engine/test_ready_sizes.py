"""What a start waits for is little; larger and rarer batches are split until they are warm."""

from __future__ import annotations

import pytest
import torch

from tests.tracker.little import assert_all_same, click, little_picture, little_tracker
from tracker import PRESETS, Tracker
from tracker.engine.engine import Engine
from tracker.engine.ready_sizes import IMAGES, OBJECTS
from tracker.memory.bank import MemoryBank
from tracker.model import Sam2
from tracker.options import EngineOptions

META = torch.device("meta")


@pytest.mark.parametrize(("objects", "first", "later"), [(16, 20, 20), (64, 20, 35), (4, 15, 9)])
def test_a_start_waits_for_few_calls(objects: int, first: int, later: int) -> None:
    """Of the released models; image batches capture three graphs each, object batches two."""
    config = PRESETS["sam2.1_hiera_tiny"]
    with META:
        model = Sam2(config)
    bank = MemoryBank(config, objects, META)
    engine = Engine(
        model, EngineOptions(fixed_shapes="on", graphs="off"), bank.shapes, META, objects
    )
    assert tuple(map(len, engine.calls_to_warm(bank, print, print))) == (first, later)


def tracked(tracker: Tracker, session: object, begin: int, objects: int) -> list:
    clicks = [click(each, 8 + 2 * each, 30) for each in range(objects)]
    return [
        tracker.step([(session, little_picture(index), [] if index else clicks)])[0]  # type: ignore[list-item]
        for index in range(begin, begin + 3)
    ]


def test_until_larger_batches_are_warm_objects_are_split() -> None:
    tracker = little_tracker(max_objects=20, engine=EngineOptions(fixed_shapes="on"))
    tracker.warm_up()
    sizes = tracker._engine._sizes
    young = tracker._engine._shapes.padded[0]
    assert sizes.of(OBJECTS, 64) == (1, 2, 4, 8, 16)
    assert (sizes.of(IMAGES, 64), sizes.of(young, 64)) == ((1, 2, 4, 8), (1, 2, 4))
    plain = little_tracker(max_objects=20)
    sessions = tracker.open_session(), plain.open_session()
    for begin in (0, 3):
        ours, theirs = (
            tracked(each, session, begin, 20)
            for each, session in zip((tracker, plain), sessions, strict=True)
        )
        for own, other in zip(ours, theirs, strict=True):
            assert_all_same(own, other)
        while tracker.warm_next():
            pass
        assert sizes.of(IMAGES, 64) == sizes.of(young, 64) == (1, 2, 4, 8, 16)
    assert tracker.engine_counts.in_service == 0
