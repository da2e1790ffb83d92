"""Makes a stream's detector from its settings; imports what needs torch or a model only then."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from streamer.config.published_detectors import DEFAULT_DETECTOR
from streamer.config.starters import StarterConfig
from streamer.errors import StarterError
from streamer.starters.detector import Detector
from streamer.starters.words.captions import DEFAULT_MODEL

if TYPE_CHECKING:
    from torch import nn

    from streamer.starters.words.load import LoadedDetector

MakeDetector = Callable[[StarterConfig], Detector]
# Passes a second by default: a background model needs several; a neural detector on a CPU takes a
# good part of a second for one.
USUAL_RATE_HZ = {"motion": 5.0, "torchvision": 1.0, "text": 0.5, "python": 1.0}


def rate_hz(config: StarterConfig) -> float:
    """Passes a second."""
    return USUAL_RATE_HZ[config.kind] if config.rate_hz is None else config.rate_hz


def keeps_off_border(config: StarterConfig) -> bool:
    """Whether detections at the border wait; default: with motion, which sees half a car."""
    return config.kind == "motion" if config.keep_off_border is None else config.keep_off_border


def shared_detector(config: StarterConfig) -> tuple[str, str | None, str] | None:
    """The key of a detector that streams with equal settings share; None: each has its own."""
    if config.kind == "torchvision":
        return config.model or DEFAULT_DETECTOR, config.weights, config.device
    if config.kind == "text":
        return config.model or DEFAULT_MODEL, None, config.device
    return None


class DetectorMaker:
    """Makes detectors. Streams with equal settings share one network, which is loaded once.

    May be called in several threads, but for one ``shared_detector`` key in one at a time. Bound:
    networks in use; one that is no longer used is freed.
    """

    def __init__(self) -> None:
        self._networks: WeakValueDictionary[object, nn.Module] = WeakValueDictionary()
        self._asked: WeakValueDictionary[object, LoadedDetector] = WeakValueDictionary()

    def __call__(self, config: StarterConfig) -> Detector:
        """A new detector; may load its model, which takes seconds. Raises ``StarterError``."""
        match config.kind:
            case "motion":
                from streamer.starters.motion import MotionDetector

                return MotionDetector()
            case "torchvision":
                return self._torchvision(config)
            case "text":
                return self._text(config)
            case "python":
                return _from_factory(config.factory or "")
            case _:
                raise StarterError(f"starter.kind {config.kind} has no detector of its own")

    def _torchvision(self, config: StarterConfig) -> Detector:
        from streamer.starters.torchvision_detector import TorchvisionDetector, load_detector

        detector = shared_detector(config)
        network = self._networks.get(detector)
        if network is None:
            weights = None if config.weights is None else Path(config.weights)
            name = config.model or DEFAULT_DETECTOR
            network = self._networks[detector] = load_detector(name, weights)
        return TorchvisionDetector(
            network,
            device=config.device,
            threads=config.threads,
            minimum_score=config.minimum_score,
        )

    def _text(self, config: StarterConfig) -> Detector:
        from streamer.starters.words.load import load_detector
        from streamer.starters.words.text_detector import TextDetector

        detector = shared_detector(config)
        loaded = self._asked.get(detector)
        if loaded is None:
            loaded = self._asked[detector] = load_detector(config.model, fetch=False)
        return TextDetector(
            loaded,
            config.captions,
            device=config.device,
            threads=config.threads,
            minimum_score=config.minimum_score,
        )


def _from_factory(factory: str) -> Detector:
    module_name, _, name = factory.partition(":")
    try:
        make = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError) as error:
        raise StarterError(
            f"starter.factory {factory}: cannot be imported: {error}; is its folder on PYTHONPATH?"
        ) from error
    detector = make()
    if not callable(detector):
        raise StarterError(
            f"starter.factory {factory} returned {type(detector).__name__}, which cannot be called "
            "with a picture"
        )
    checked: Detector = detector
    return checked
