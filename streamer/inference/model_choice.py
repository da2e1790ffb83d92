"""Which model ``model=auto`` is on this machine; downloads nothing."""

from __future__ import annotations

from streamer.config.schema import AUTO_MODEL, ModelSection
from streamer.errors import ConfigError
from tracker.errors import CheckpointError

EMBEDDED_MODEL, BETTER_MODEL = "nano", "sam2.1_hiera_small"


def wants_better_model(model: ModelSection) -> bool:
    """Whether the model is chosen here and runs on CUDA, where the better one is live.

    A device that does not exist is reported where the model is loaded.
    """
    if model.name != AUTO_MODEL or model.checkpoint is not None:
        return False
    try:
        return device_names(model)[0].startswith("cuda")
    except ConfigError:
        return False


def device_names(model: ModelSection) -> list[str]:
    """The devices to put a tracker on. Raises ``ConfigError`` for one that does not exist."""
    import torch

    from tracker.weights.checkpoint import resolve_device

    key, wanted = (
        ("model.devices", model.devices) if model.devices else ("model.device", [model.device])
    )
    if wanted == ["all"]:
        count = torch.cuda.device_count()
        if not count:
            raise ConfigError(
                "model.devices all: torch finds no CUDA device here; nvidia-smi lists them, and "
                "model.devices=[] runs on the processor"
            )
        wanted = [f"cuda:{number}" for number in range(count)]
    try:
        return [str(resolve_device(name)) for name in wanted]
    except ValueError as error:
        raise ConfigError(f"{key}: {error}") from error


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
