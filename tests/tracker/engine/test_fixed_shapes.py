"""With fixed shapes the results are the same, no shape is new in service, and padding is silent."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tests.tracker.little import (
    LITTLE,
    assert_all_same,
    click,
    little_picture,
    little_tracker,
    model_with,
)
from tracker import Track, Tracker, TrackerOptions
from tracker.engine import engine
from tracker.engine.calls import Call
from tracker.engine.padding import PaddedChunk, padded_chunks
from tracker.model import chunking
from tracker.model.memory_attention import FrameState, MemoryTokens
from tracker.options import EngineOptions

FIXED = EngineOptions(fixed_shapes="on")
TINY = LITTLE.replaced(image_size=32)


def tracker_with(
    options: EngineOptions, max_objects: int = 8, config=LITTLE, policy: Any = "sam2"
) -> Tracker:
    weights = little_tracker(config=config).model().state_dict()
    tracker_options = TrackerOptions(
        max_objects=max_objects, memory_policy=policy, return_logits=True, engine=options
    )
    return Tracker(model_with(config, weights), torch.device("cpu"), tracker_options)


def played(tracker: Tracker, frames: int = 20) -> Iterator[list[Track]]:
    """Two streams whose objects begin on different frames, so that they remember differently."""
    streams = [tracker.open_session(), tracker.open_session()]
    begins = {0: ([click(1), click(2)], []), 2: ([], [click(3)]), 9: ([click(4)], [click(3)])}
    for index in range(frames):
        prompts = begins.get(index, ([], []))
        tracks = tracker.step(
            [
                (session, little_picture(index + 5 * place), own)
                for place, (session, own) in enumerate(zip(streams, prompts, strict=True))
            ]
        )
        if index == 15:
            streams[0].remove(2)
        yield [track for own in tracks for track in own]
    for session in streams:
        session.close()


@pytest.mark.parametrize("policy", ["sam2", "robust"])
def test_padded_rows_and_masked_memories_change_nothing_but_rounding(policy: Any) -> None:
    fixed = tracker_with(FIXED, policy=policy)
    fixed.warm_up()
    plain = tracker_with(EngineOptions(), policy=policy)
    for own, other in zip(played(fixed), played(plain), strict=True):
        assert_all_same(own, other)
    assert fixed.engine_counts.in_service == 0


def test_real_rows_do_not_depend_on_what_pads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    as_they_are = list(played(tracker_with(FIXED), frames=12))

    def with_the_first(count: int, sizes: tuple[int, ...]) -> list[PaddedChunk]:
        """The first row of all for padding instead of the last: other neighbours."""
        chunks = padded_chunks(count, sizes)
        padded = [np.where(np.arange(len(row_R)) < real, row_R, 0) for row_R, real in chunks]
        changed.extend(
            not np.array_equal(row_R, chunk.row_R)
            for row_R, chunk in zip(padded, chunks, strict=True)
        )
        return [PaddedChunk(row_R, chunk.real) for row_R, chunk in zip(padded, chunks, strict=True)]

    changed: list[bool] = []
    monkeypatch.setattr(engine, "padded_chunks", with_the_first)
    for own, other in zip(as_they_are, played(tracker_with(FIXED), frames=12), strict=True):
        for ours, theirs in zip(own, other, strict=True):
            np.testing.assert_array_equal(ours.logits, theirs.logits)
            assert ours.object_score == theirs.object_score
    assert any(changed)


def test_more_objects_than_the_largest_size_are_split() -> None:
    options = replace(FIXED, row_sizes=(1, 2), image_sizes=(1,))
    for own, other in zip(
        played(tracker_with(options), 4), played(tracker_with(EngineOptions()), 4), strict=True
    ):
        assert_all_same(own, other)


def test_on_a_processor_objects_go_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    together = list(played(tracker_with(EngineOptions()), 6))
    tracker = tracker_with(EngineOptions())
    attend = tracker._engine.model.attend_memory
    rows: list[int] = []

    def counted(frame: FrameState, memory: MemoryTokens) -> torch.Tensor:
        rows.append(len(frame.token_BLC))
        return attend(frame, memory)

    monkeypatch.setattr(tracker._engine.model, "attend_memory", counted)
    monkeypatch.setattr(chunking, "_CHUNK_BYTES", 1)
    for own, other in zip(played(tracker, 6), together, strict=True):
        assert_all_same(own, other)
    assert set(rows) == {1}


def test_after_the_warm_up_no_shape_is_new_while_objects_come_and_go() -> None:
    tracker = tracker_with(FIXED, max_objects=5, config=TINY)
    reported: list[tuple[int, int]] = []
    tracker.warm_up(lambda done, total: reported.append((done, total)))
    assert reported[-1][0] == reported[-1][1] == len(reported)
    warm = replace(tracker.engine_counts)
    assert warm.shapes > 0
    assert warm.in_service == 0

    chance = random.Random(0)
    streams = [tracker.open_session() for _ in range(3)]
    pictures = [little_picture(index, 32, 32) for index in range(5)]
    added = removed = frames = 0
    while frames < 2000:
        batch = []
        free = tracker.free_slots
        for session in streams:
            prompts = []
            if session.object_ids and chance.random() < 0.01:
                session.remove(chance.choice(session.object_ids))
                removed += 1
            elif free and chance.random() < 0.02:
                added += 1
                free -= 1
                prompts = [click(added, 10, 12)]
            if chance.random() < 0.8:  # streams have rates of their own
                batch.append((session, pictures[frames % 5], prompts))
            else:
                added, free = added - len(prompts), free + len(prompts)
        if batch:
            tracker.step(batch)
            frames += len(batch)
    assert added > 20
    assert removed > 15
    assert tracker.engine_counts == warm


def test_a_new_shape_in_service_is_counted() -> None:
    tracker = tracker_with(FIXED, max_objects=2)
    session = tracker.open_session()
    tracker.warm_up()
    assert tracker.engine_counts.in_service == 0
    three = np.arange(3)
    tracker._engine.calls("rows", 3, [Call("rows", lambda rows: (rows,), three, 3, (three,))])
    assert tracker.engine_counts.in_service == 1
    session.close()


def test_without_fixed_shapes_nothing_is_counted() -> None:
    tracker = tracker_with(EngineOptions())
    tracker.warm_up()
    assert tracker.engine_counts.shapes == 0
