"""Objects go on in another tracker: what they are remembered by is taken out and put in."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.tracker.agreement.scripts import model_with, shapes_of
from tests.tracker.agreement.weights import amplified_weights
from tests.tracker.little import LITTLE, assert_same, click, little_picture, little_tracker, step
from tracker import (
    CapacityError,
    ObjectMemory,
    ObjectMemoryError,
    SessionError,
    Tracker,
    TrackerOptions,
)
from tracker.memory.object_memory import ModelIdentity

VISIBLE_BIAS = 30.0


def remembered(tracker: Tracker, frames: int = 5) -> ObjectMemory:
    """An object that was prompted twice, the first time in the first frame."""
    session = tracker.open_session()
    for index in range(frames):
        step(tracker, session, little_picture(index), *([click(1)] if index in (0, 3) else []))
    memory = session.export_object(1)
    session.close()
    return memory


def test_object_continues_in_another_tracker_with_its_conditioning_memories() -> None:
    memory = remembered(little_tracker(object_score_bias=VISIBLE_BIAS))
    assert memory.age_F.tolist() == [5, 2]
    restarted = little_tracker(object_score_bias=VISIBLE_BIAS)
    session = restarted.open_session()
    session.import_object(1, memory)
    assert session.object_ids == (1,)
    # As an object that was followed all the time, but forgot the recent past.
    lasting = little_tracker(object_score_bias=VISIBLE_BIAS)
    forgetful = lasting.open_session()
    for index in range(5):
        step(lasting, forgetful, little_picture(index), *([click(1)] if index in (0, 3) else []))
    lasting._bank.forget_recent_after(forgetful.slot_of(1), -1)
    for index in range(9, 19):
        ours = step(restarted, session, little_picture(index))[1]
        assert_same(ours, step(lasting, forgetful, little_picture(index))[1])
        assert ours.area > 0


def test_memory_comes_out_as_it_went_in() -> None:
    tracker = little_tracker()
    memory = remembered(tracker)
    session = tracker.open_session()
    session.import_object(1, memory)
    again = session.export_object(1)
    assert again.model == memory.model
    for name in ("age_F", "spatial_FLc", "pointer_FC"):
        np.testing.assert_array_equal(getattr(again, name), getattr(memory, name))


def test_half_precision_memories_are_exact_in_float32() -> None:
    config = LITTLE.replaced(memory_dtype="bfloat16")
    tracker = little_tracker(config=config)
    memory = remembered(tracker)
    session = tracker.open_session()
    session.import_object(1, memory)
    np.testing.assert_array_equal(session.export_object(1).spatial_FLc, memory.spatial_FLc)


def test_object_may_be_imported_into_a_stream_that_has_run_for_long() -> None:
    tracker = little_tracker(object_score_bias=VISIBLE_BIAS)
    memory = remembered(tracker)
    session = tracker.open_session()
    for index in range(20):
        step(tracker, session, little_picture(index))
    session.import_object(1, memory)
    assert session.export_object(1).age_F.tolist() == memory.age_F.tolist()
    assert step(tracker, session, little_picture(3))[1].area > 0


def test_memory_of_other_weights_is_refused() -> None:
    memory = remembered(little_tracker())
    weights = amplified_weights(shapes_of(LITTLE), seed=2)
    other = Tracker(model_with(LITTLE, weights), torch.device("cpu"), TrackerOptions(max_objects=2))
    with pytest.raises(ObjectMemoryError, match=r"object 1 was remembered by little \(.*this is"):
        other.open_session().import_object(1, memory)
    assert other.free_slots == 2


def test_memory_of_another_image_size_is_refused_with_both_sizes() -> None:
    memory = remembered(little_tracker())
    larger = little_tracker(config=LITTLE.replaced(image_size=LITTLE.image_size + 32))
    other = replace(memory, model=remembered(larger).model)
    size = LITTLE.image_size
    said = rf"object 1 .* images of {size} x {size} pixels, this tracker takes {size + 32} x"
    with pytest.raises(ObjectMemoryError, match=said):
        larger.open_session().import_object(1, other)
    assert larger.free_slots == 8


def test_same_weights_have_the_same_identity() -> None:
    assert remembered(little_tracker()).model == remembered(little_tracker(max_objects=2)).model


@pytest.mark.parametrize("damage", ["ages", "age_dtype", "shape", "nan", "none", "many", "dtype"])
def test_damaged_memory_is_refused_and_changes_nothing(damage: str) -> None:
    tracker = little_tracker(max_objects=1)
    memory = remembered(tracker)
    ages, spatial, pointer = memory.age_F, memory.spatial_FLc, memory.pointer_FC
    changes = {
        "ages": {"age_F": ages * 0},
        "age_dtype": {"age_F": ages.astype(np.float64)},
        "shape": {"spatial_FLc": spatial[:, 1:]},
        "nan": {"pointer_FC": pointer * np.float32(np.nan)},
        "none": {"age_F": ages[:0], "spatial_FLc": spatial[:0], "pointer_FC": pointer[:0]},
        "many": {"age_F": np.arange(1, 9)},
        "dtype": {"spatial_FLc": spatial.astype(np.float64)},
    }
    session = tracker.open_session()
    with pytest.raises(ObjectMemoryError, match="the memory of object 1 is damaged"):
        session.import_object(1, replace(memory, **changes[damage]))  # type: ignore[arg-type]
    assert (session.object_ids, tracker.free_slots) == ((), 1)


def test_import_respects_limits_and_ids() -> None:
    tracker = little_tracker(max_objects=2)
    memory = remembered(tracker)
    session = tracker.open_session(max_objects=1)
    session.import_object(1, memory)
    with pytest.raises(SessionError, match="object 1 is tracked already"):
        session.import_object(1, memory)
    with pytest.raises(CapacityError):
        session.import_object(2, memory)
    others = tracker.open_session()
    others.import_object(3, memory)
    with pytest.raises(CapacityError):
        others.import_object(4, memory)
    with pytest.raises(KeyError):
        session.export_object(9)
    session.close()
    with pytest.raises(SessionError, match="closed"):
        session.import_object(5, memory)


def test_identity_is_of_the_weights_as_they_were_loaded() -> None:
    """A CPU and a GPU hold them in different precision, and remember alike."""
    weights = amplified_weights(shapes_of(LITTLE), seed=1)
    identities = {
        Tracker(
            model_with(LITTLE, weights), torch.device("cpu"), TrackerOptions(compute_dtype=dtype)
        )._identity
        for dtype in ("float32", "bfloat16")
    }
    (identity,) = identities
    assert identity == ModelIdentity("little", identity.fingerprint)
