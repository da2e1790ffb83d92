"""From a stream's settings to its starter; what needs torch or a model is imported here, late."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from streamer.config.starters import StarterConfig
from streamer.errors import StarterError
from streamer.starters.detection import Starter

if TYPE_CHECKING:
    from torch import nn

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


def shared_detector(config: StarterConfig) -> tuple[str, str | None, str] | None:
    """Which detector a starter uses: one for all whose settings say the same; None for its own."""
    if config.kind != "torchvision":
        return None
    return config.model, config.weights, config.device


class StarterMaker:
    """Makes starters. Streams with the same detector share one, which is loaded once.

    It may be called in several threads, but for one ``shared_detector`` in one at a time. Bound:
    detectors that starters use; one that none uses is let go.
    """

    def __init__(self) -> None:
        self._networks: WeakValueDictionary[object, nn.Module] = WeakValueDictionary()

    def __call__(self, config: StarterConfig) -> Starter:
        """A new starter; may load its model, which takes seconds. Raises ``StarterError``."""
        match config.kind:
            case "motion":
                from streamer.starters.motion import MotionStarter

                return MotionStarter()
            case "torchvision":
                return self._torchvision(config)
            case "python":
                return _from_factory(config.factory or "")
            case _:
                raise StarterError(f"starter.kind {config.kind} does not look at pictures")

    def _torchvision(self, config: StarterConfig) -> Starter:
        from streamer.starters.torchvision_detector import TorchvisionStarter, load_detector

        detector = shared_detector(config)
        network = self._networks.get(detector)
        if network is None:
            weights = None if config.weights is None else Path(config.weights)
            network = self._networks[detector] = load_detector(config.model, weights)
        return TorchvisionStarter(
            network,
            device=config.device,
            threads=config.threads,
            minimum_score=config.minimum_score,
        )


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
