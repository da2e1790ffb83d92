"""Torchvision's detectors that can start objects, and where their weights are published.

Torchvision publishes the first eight hexadecimal digits of a file's sha256, in its name, and a
rounded size; no more can be checked. Needs no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tracker.weights.official import checkpoint_directory

_BASE = "https://download.pytorch.org/models"


@dataclass(frozen=True, slots=True)
class PublishedDetector:
    """One detector. ``name`` is that of torchvision's function, ``file_name`` of its weights.

    ``size_mib`` is rounded as torchvision publishes it.
    """

    name: str
    file_name: str
    size_mib: float

    @property
    def url(self) -> str:
        """Where torchvision downloads it from."""
        return f"{_BASE}/{self.file_name}"

    @property
    def sha256_prefix(self) -> str:
        """The digits of the sha256 that are published."""
        return self.file_name.removesuffix(".pth").rpartition("-")[2]

    @property
    def path(self) -> Path:
        """Where the downloaded file is kept."""
        return checkpoint_directory() / self.file_name


PUBLISHED_DETECTORS: dict[str, PublishedDetector] = {
    each.name: each
    for each in (
        PublishedDetector(
            "fasterrcnn_mobilenet_v3_large_320_fpn",
            "fasterrcnn_mobilenet_v3_large_320_fpn-907ea3f9.pth",
            74.239,
        ),
        PublishedDetector(
            "fasterrcnn_mobilenet_v3_large_fpn",
            "fasterrcnn_mobilenet_v3_large_fpn-fb6a3cc7.pth",
            74.239,
        ),
        PublishedDetector(
            "fasterrcnn_resnet50_fpn_v2", "fasterrcnn_resnet50_fpn_v2_coco-dd69338a.pth", 167.104
        ),
        PublishedDetector(
            "maskrcnn_resnet50_fpn_v2", "maskrcnn_resnet50_fpn_v2_coco-73cbd019.pth", 177.219
        ),
        PublishedDetector(
            "retinanet_resnet50_fpn_v2", "retinanet_resnet50_fpn_v2_coco-5905b1c5.pth", 146.037
        ),
        PublishedDetector("fcos_resnet50_fpn", "fcos_resnet50_fpn_coco-99b0c9b7.pth", 123.608),
        PublishedDetector(
            "ssdlite320_mobilenet_v3_large",
            "ssdlite320_mobilenet_v3_large_coco-a79551df.pth",
            13.418,
        ),
    )
}

DEFAULT_DETECTOR = "fasterrcnn_mobilenet_v3_large_320_fpn"
