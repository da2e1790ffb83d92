"""From a stream's settings to its starter; what needs torch or a model is imported here, late."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

from streamer.errors import StarterError
from streamer.starters.detection import Starter
from streamer.starters.settings import StarterConfig

MakeStarter = Callable[[StarterConfig], Starter]
# Looks a second where nobody says otherwise: a background model wants several, a detector on a
# processor takes a good part of a second for one.
USUAL_RATE_HZ = {"motion": 5.0, "torchvision": 1.0, "python": 1.0}


def rate_hz(config: StarterConfig) -> float:
    """How often a starter looks."""
    return USUAL_RATE_HZ[config.kind] if config.rate_hz is None else config.rate_hz


def keeps_off_border(config: StarterConfig) -> bool:
    """Whether what touches the border waits: by default with motion, which sees half a car come."""
    return config.kind == "motion" if config.keep_off_border is None else config.keep_off_border


def make_starter(config: StarterConfig) -> Starter:
    """A new starter; loads its model, which takes seconds. Raises ``StarterError``."""
    match config.kind:
        case "motion":
            from streamer.starters.motion import MotionStarter

            return MotionStarter()
        case "torchvision":
            from streamer.starters.torchvision_detector import TorchvisionStarter, load_detector

            weights = None if config.weights is None else Path(config.weights)
            return TorchvisionStarter(
                load_detector(config.model, weights),
                device=config.device,
                threads=config.threads,
                minimum_score=config.minimum_score,
            )
        case "python":
            return _from_factory(config.factory or "")
        case _:
            raise StarterError(f"starter.kind {config.kind} does not look at pictures")


def _from_factory(factory: str) -> Starter:
    module_name, _, name = factory.partition(":")
    try:
        make = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError) as error:
        raise StarterError(
            f"starter.factory {factory}: cannot be imported: {error}; is its folder on PYTHONPATH?"
        ) from error
    starter = make()
    if not callable(starter):
        raise StarterError(
            f"starter.factory {factory} returned {type(starter).__name__}, which cannot be called "
            "with a picture"
        )
    checked: Starter = starter
    return checked
