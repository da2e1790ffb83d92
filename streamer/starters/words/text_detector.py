"""A detector that is asked in words: captions in, detections with class names out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from PIL import Image

from streamer.errors import ConfigError, StarterError
from streamer.starters.network_device import cpu_threads, device_named
from streamer.starters.words.captions import ensure_captions
from streamer.starters.words.load import LoadedDetector, load_detector
from streamer.types import Detection, ImageArray

MINIMUM_SCORE = 0.3


class TextDetector:
    """Finds what ``captions`` say; each box has the class name that its caption maps to."""

    def __init__(
        self,
        loaded: LoadedDetector,
        captions: Mapping[str, str],
        *,
        device: str = "cpu",
        threads: int | None = None,
        minimum_score: float = MINIMUM_SCORE,
    ) -> None:
        """``threads``: CPU threads of a pass; None: as torch has them.

        Raises ``StarterError`` for captions that this detector cannot be asked.
        """
        ensure_captions(captions)
        if loaded.is_open and not captions:
            raise StarterError(
                f"{loaded.name} finds only what captions name: give it captions, such as "
                "starter.captions={person: player}"
            )
        if not loaded.is_open and (unknown := sorted(captions.keys() - set(loaded.classes))):
            raise StarterError(
                f"{loaded.name} knows no {unknown[0]!r}; its classes are "
                f"{', '.join(loaded.classes[:100])}"
            )
        try:
            loaded.network.model.to(device_named(device))
        except (RuntimeError, AssertionError) as error:
            raise ConfigError(f"starter.device {device} cannot be used: {error}") from error
        self._loaded = loaded
        self._captions = dict(captions)
        self._threads = threads
        self._minimum_score = minimum_score

    @classmethod
    def of(
        cls,
        captions: Mapping[str, str],
        model: str | None = None,
        *,
        device: str = "auto",
        minimum_score: float = MINIMUM_SCORE,
    ) -> TextDetector:
        """The detector of a hub name or folder, downloaded if need be. Raises ``StarterError``."""
        loaded = load_detector(model, fetch=True)
        return cls(loaded, captions, device=device, minimum_score=minimum_score)

    @torch.inference_mode()
    def __call__(self, image: ImageArray) -> Sequence[Detection]:
        """What is in ``image``, RGB uint8 (height, width, 3)."""
        with cpu_threads(self._threads or torch.get_num_threads()):
            found = self._loaded.find(
                self._loaded.network,
                Image.fromarray(image),
                list(self._captions),
                self._minimum_score,
            )
            return [
                Detection((x0, y0, x1, y1), min(score, 1.0), self._captions.get(name, name))
                for (x0, y0, x1, y1), score, name in found
            ]
