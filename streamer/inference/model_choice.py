"""Which model ``model=auto`` is on this machine; downloads nothing."""

from __future__ import annotations

from streamer.config.schema import AUTO_MODEL, ModelSection
from tracker.errors import CheckpointError

EMBEDDED_MODEL, BETTER_MODEL = "nano", "sam2.1_hiera_small"


def wants_better_model(model: ModelSection) -> bool:
    """Whether the model is chosen here and runs on CUDA, where the better one is live.

    A device that does not exist is reported where the model is loaded.
    """
    from tracker.weights.checkpoint import resolve_device

    if model.name != AUTO_MODEL or model.checkpoint is not None:
        return False
    try:
        return resolve_device(model.device).type == "cuda"
    except ValueError:
        return False


def chosen_model(model: ModelSection) -> str:
    """The name or path of the model to load."""
    if model.checkpoint is not None or model.name != AUTO_MODEL:
        return model.checkpoint or model.name
    return BETTER_MODEL if wants_better_model(model) and is_here(BETTER_MODEL) else EMBEDDED_MODEL


def is_here(name: str) -> bool:
    """Whether the weights of this name are on this machine."""
    from tracker.weights.checkpoint import find_checkpoint

    try:
        find_checkpoint(name)
    except CheckpointError:
        return False
    return True
