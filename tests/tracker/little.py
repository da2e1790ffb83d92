"""A network that steps in a few milliseconds, and what tests do with it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from tests.tracker.agreement.scripts import model_with, picture, shapes_of
from tests.tracker.agreement.weights import amplified_weights
from tracker import HieraConfig, ModelConfig, Prompt, Session, Track, Tracker, TrackerOptions
from tracker.options import EngineOptions, RobustOptions

IMAGE_SIZE = 64
LITTLE = ModelConfig(
    name="little",
    image_size=IMAGE_SIZE,
    trunk=HieraConfig(8, 1, (1, 1, 1, 1), (2,), (4, 2, 2, 2), (2, 2)),
    hidden_dim=32,
    memory_dim=16,
    memory_attention_layers=1,
    memory_attention_feed_forward=32,
    decoder_depth=1,
    decoder_heads=2,
    decoder_feed_forward=32,
    iou_head_hidden=16,
    memory_dtype="float32",
)


def little_tracker(
    *,
    max_objects: int = 8,
    object_score_bias: float = 0.0,
    config: ModelConfig = LITTLE,
    robust: RobustOptions | None = None,
    engine: EngineOptions | None = None,
) -> Tracker:
    """A tracker with amplified weights, always the same; by the paper's rule unless ``robust``."""
    weights = amplified_weights(shapes_of(config), seed=1, object_score_bias=object_score_bias)
    options = TrackerOptions(
        max_objects=max_objects,
        return_logits=True,
        memory_policy="sam2" if robust is None else "robust",
        robust=robust or RobustOptions(),
        engine=engine or EngineOptions(),
    )
    return Tracker(model_with(config, weights), torch.device("cpu"), options)


def little_picture(seed: int, height: int = IMAGE_SIZE, width: int = IMAGE_SIZE) -> np.ndarray:
    """Random texture."""
    return picture(seed, height, width)


def click(object_id: int, x: float = 20, y: float = 30) -> Prompt:
    """One positive point."""
    return Prompt(object_id, points_xy=((x, y),), point_labels=(1,))


def step(
    tracker: Tracker, session: Session, image: np.ndarray, *prompts: Prompt
) -> dict[int, Track]:
    """One frame of one session, tracks by object."""
    (tracks,) = tracker.step([(session, image, prompts)])
    return {track.object_id: track for track in tracks}


def assert_same(ours: Track, theirs: Track, relative: float = 2e-5) -> None:
    """Equal to rounding: batches of another size are summed in another order."""
    assert ours.object_id == theirs.object_id
    assert ours.logits is not None
    assert theirs.logits is not None
    largest = float(np.abs(theirs.logits).max())
    np.testing.assert_allclose(ours.logits, theirs.logits, rtol=0, atol=relative * largest)
    assert abs(ours.predicted_iou - theirs.predicted_iou) < relative
    assert abs(ours.object_score - theirs.object_score) < relative


def assert_all_same(ours: Sequence[Track], theirs: Sequence[Track]) -> None:
    """Two results of one step agree to rounding."""
    for own, other in zip(ours, theirs, strict=True):
        assert_same(own, other)
