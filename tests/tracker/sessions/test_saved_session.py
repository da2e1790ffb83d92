"""A session that was saved between two frames continues as if it had never stopped."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.tracker.little import click, little_picture, little_tracker, step
from tracker import ObjectMemoryError, PromptError, RobustOptions, SessionError, Tracker

PICTURES = [little_picture(seed) for seed in range(8)]


def _tracker(policy: str) -> Tracker:
    robust = RobustOptions(anchors=2) if policy == "robust" else None
    return little_tracker(robust=robust, object_score_bias=2.0)


@pytest.mark.parametrize("policy", ["sam2", "robust"])
def test_restored_session_gives_identical_tracks(policy: str, tmp_path: Path) -> None:
    tracker = _tracker(policy)
    whole = tracker.open_session()
    step(tracker, whole, PICTURES[0], click(7), click(2, 40, 40))
    for picture in PICTURES[1:3]:
        step(tracker, whole, picture)
    whole.note_gap(2)
    step(tracker, whole, PICTURES[3])
    save_file(whole.save(), tmp_path / "session.safetensors")

    other = _tracker(policy)
    step(other, other.open_session(), PICTURES[5], click(1))  # its slots are others
    restored = other.open_session()
    restored.restore(load_file(tmp_path / "session.safetensors"))
    assert restored.object_ids == (7, 2)
    for place, picture in enumerate(PICTURES[4:]):
        prompts = [click(2, 30, 30)] if place == 1 else []
        expected = step(tracker, whole, picture, *prompts)
        found = step(other, restored, picture, *prompts)
        assert found.keys() == expected.keys()
        for object_id, track in expected.items():
            assert (found[object_id].logits == track.logits).all()
            assert found[object_id].predicted_iou == track.predicted_iou


def test_restoring_refuses_what_is_no_saved_session_and_frees_its_slots() -> None:
    tracker = _tracker("robust")
    session = tracker.open_session()
    step(tracker, session, PICTURES[0], click(1))
    saved = session.save()
    with pytest.raises(SessionError, match="only a new session"):
        session.restore(saved)
    free = tracker.free_slots
    for damage in ({"1.facts": torch.zeros(3)}, {"1.pointer_PC": torch.zeros(1, 2)}):
        with pytest.raises(ObjectMemoryError, match="a saved slot lacks"):
            tracker.open_session().restore(saved | damage)
    with pytest.raises(ObjectMemoryError, match="no saved session"):
        tracker.open_session().restore({})
    assert tracker.free_slots == free


def test_the_frame_before_a_restart_cannot_be_corrected() -> None:
    tracker = _tracker("sam2")
    session = tracker.open_session()
    step(tracker, session, PICTURES[0], click(1))
    restored = tracker.open_session()
    restored.restore(session.save())
    with pytest.raises(PromptError, match="before this session was restored"):
        tracker.correct(restored, [click(1)])
