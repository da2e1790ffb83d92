"""Torchvision's detectors: people, balls, cars and all of COCO's classes by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from torch import nn
from torchvision.models import detection as detectors

from streamer.config.published_detectors import PUBLISHED_DETECTORS
from streamer.errors import ConfigError, StarterError
from streamer.starters.network_device import cpu_threads, device_named
from streamer.types import Detection, ImageArray

# As torchvision's published detectors number them; 0 is the background.
COCO_CLASSES: tuple[str, ...] = tuple(
    detectors.FasterRCNN_MobileNet_V3_Large_320_FPN_Weights.COCO_V1.meta["categories"]
)
NO_CLASS = frozenset({"__background__", "N/A"})
MASK_THRESHOLD = 0.5


def coco_labels() -> list[str]:
    """The labels of a published detector."""
    return [name for name in COCO_CLASSES if name not in NO_CLASS]


def empty_detector(name: str) -> nn.Module:
    """The network of one of the ``PUBLISHED_DETECTORS`` with random weights, for inference."""
    build = getattr(detectors, name)
    network: nn.Module = build(weights=None, weights_backbone=None, num_classes=len(COCO_CLASSES))
    return network.eval()


def load_detector(name: str, weights: Path | None) -> nn.Module:
    """The network with its published weights, or weights of the same form from another file.

    Raises ``StarterError`` with what to do.
    """
    published = PUBLISHED_DETECTORS[name]
    path = weights or published.path
    if not path.is_file():
        raise StarterError(
            f"the weights of {name} are not at {path}: run `masklet checkpoints pull {name}`, or "
            "name a file in starter.weights"
        )
    network = empty_detector(name)
    try:
        # weights_only: a weights file is data, and nothing in it is executed.
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except (OSError, RuntimeError, UnpicklingError, EOFError, KeyError, ValueError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise StarterError(f"{path} holds no weights of {name}: {first[:200]}") from error
    return network


class TorchvisionDetector:
    """Runs one detector; boxes with labels and scores, and masks where it has them."""

    def __init__(self, network: nn.Module, *, device: str, threads: int, minimum_score: float):
        """``threads``: CPU threads of a pass. Detections below ``minimum_score`` are left out."""
        try:
            self._device = device_named(device)
            self._network = network.to(self._device)
        except (RuntimeError, AssertionError) as error:
            raise ConfigError(f"starter.device {device} cannot be used: {error}") from error
        self._threads = threads
        self._minimum_score = minimum_score

    @torch.inference_mode()
    def __call__(self, image: ImageArray) -> Sequence[Detection]:
        """What is in ``image``, RGB uint8 (height, width, 3)."""
        # A copy: torch does not accept read-only memory.
        image_CHW = torch.from_numpy(image.copy()).to(self._device).permute(2, 0, 1)
        with cpu_threads(self._threads):
            (found,) = self._network([image_CHW.float() / 255])
        sure = found["scores"] >= self._minimum_score
        boxes = found["boxes"][sure].float().cpu().numpy()
        scores = found["scores"][sure].float().cpu().numpy()
        classes = found["labels"][sure].cpu().numpy()
        masks_N1HW = found["masks"][sure] > MASK_THRESHOLD if "masks" in found else None
        detections = []
        for index, (box, score, number) in enumerate(zip(boxes, scores, classes, strict=True)):
            label = COCO_CLASSES[number] if 0 <= number < len(COCO_CLASSES) else "N/A"
            if label in NO_CLASS:
                continue
            if masks_N1HW is not None:
                crop = _cropped(masks_N1HW[index, 0].cpu().numpy(), float(score), label)
                if crop is not None:
                    detections.append(crop)
                continue
            x0, y0, x1, y1 = (float(each) for each in box)
            detections.append(Detection((x0, y0, x1, y1), min(float(score), 1.0), label))
        return detections


def _cropped(
    mask: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], score: float, label: str
) -> Detection | None:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not rows.size:
        return None
    x0, y0, x1, y1 = (int(each) for each in (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
    crop = np.ascontiguousarray(mask[y0:y1, x0:x1])
    return Detection((x0, y0, x1, y1), min(score, 1.0), label, crop)
