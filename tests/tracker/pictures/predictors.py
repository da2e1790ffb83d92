"""A predictor that answers in a millisecond."""

from __future__ import annotations

import torch

from tests.tracker.agreement.scripts import model_with, shapes_of
from tests.tracker.agreement.weights import amplified_weights
from tests.tracker.little import LITTLE
from tracker import ImagePredictor, PictureOptions


def little_predictor(options: PictureOptions | None = None, seed: int = 1) -> ImagePredictor:
    """With amplified weights, the same for a seed; by default one look, as large models have."""
    model = model_with(LITTLE, amplified_weights(shapes_of(LITTLE), seed=seed))
    return ImagePredictor(model, torch.device("cpu"), options or PictureOptions(closer_look=False))
