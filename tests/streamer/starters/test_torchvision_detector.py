"""Torchvision's detectors as starters, with random weights: classes by name, errors with advice."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from streamer.config.published_detectors import PUBLISHED_DETECTORS
from streamer.config.starters import StarterConfig
from streamer.errors import StarterError
from streamer.starters import torchvision_detector
from streamer.starters.detector import checked
from streamer.starters.make_detector import DetectorMaker
from streamer.starters.torchvision_detector import (
    COCO_CLASSES,
    TorchvisionDetector,
    coco_labels,
    empty_detector,
    load_detector,
)

SMALLEST = "ssdlite320_mobilenet_v3_large"
IMAGE = np.random.default_rng(0).integers(0, 255, (90, 160, 3), dtype=np.uint8)


class Found(nn.Module):
    """Answers as torchvision's detectors do, and keeps what it was given."""

    def __init__(self, *, masks: bool = False) -> None:
        super().__init__()
        self.masks = masks
        self.images: list[torch.Tensor] = []

    def forward(self, images: list[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
        self.images += images
        found = {
            "boxes": torch.tensor(
                [[10.5, 20, 40, 80], [0, 0, 5, 5], [50, 10, 60, 20], [1, 1, 9, 9]]
            ),
            "scores": torch.tensor([0.9, 0.8, 0.7, 0.1]),
            "labels": torch.tensor(
                [COCO_CLASSES.index("person"), COCO_CLASSES.index("N/A"),
                 COCO_CLASSES.index("sports ball"), COCO_CLASSES.index("car")]
            ),
        }  # fmt: skip
        if self.masks:
            found["masks"] = torch.zeros((4, 1, *images[0].shape[1:]))
            found["masks"][0, 0, 30:70, 12:38] = 1.0
        return [found]


def starter(network: nn.Module) -> TorchvisionDetector:
    return TorchvisionDetector(network, device="cpu", threads=1, minimum_score=0.5)


def test_finds_have_the_names_of_coco_and_the_unsure_are_left_out() -> None:
    network = Found()
    threads = torch.get_num_threads()
    found = starter(network)(IMAGE)
    assert torch.get_num_threads() == threads
    assert [(each.label, round(each.score, 2)) for each in found] == [
        ("person", 0.9),
        ("sports ball", 0.7),
    ]
    assert found[0].box_xyxy == (10.5, 20, 40, 80)
    (image_CHW,) = network.images
    assert image_CHW.shape == (3, 90, 160)
    assert torch.allclose(image_CHW[:, 3, 5] * 255, torch.tensor(IMAGE[3, 5]).float(), atol=1e-3)


def test_picture_that_may_not_be_written_is_fine() -> None:
    image = IMAGE.copy()
    image.flags.writeable = False
    assert len(starter(Found())(image)) == 2


def test_detector_with_masks_gives_masks() -> None:
    (found,) = starter(Found(masks=True))(IMAGE)
    assert found.box_xyxy == (12, 30, 38, 70)
    assert found.crop is not None
    assert found.crop.shape == (40, 26)
    assert found.crop.all()
    assert checked([found], 90, 160) == [found]


def test_people_balls_and_cars_are_known() -> None:
    assert {"person", "sports ball", "car"} <= set(coco_labels())
    assert len(coco_labels()) == 80
    assert not {"N/A", "__background__"} & set(coco_labels())


def test_weights_are_loaded_as_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights in the file and the folder where the published ones would be."""
    monkeypatch.setenv("MASKLET_CHECKPOINTS", str(tmp_path))
    torch.manual_seed(0)
    saved = empty_detector(SMALLEST)
    torch.save(saved.state_dict(), PUBLISHED_DETECTORS[SMALLEST].path)
    config = StarterConfig(kind="torchvision", model=SMALLEST, minimum_score=0.0)
    found = checked(DetectorMaker()(config)(IMAGE), 90, 160)
    assert all(each.label in coco_labels() for each in found)
    loaded = load_detector(SMALLEST, None)
    assert not loaded.training
    for name, value in saved.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name]), name


def test_streams_with_the_same_detector_share_one_while_it_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loads: list[tuple[str, Path | None]] = []

    def load(name: str, weights: Path | None) -> nn.Module:
        loads.append((name, weights))
        return Found()

    monkeypatch.setattr(torchvision_detector, "load_detector", load)
    make = DetectorMaker()
    sure = StarterConfig(kind="torchvision", model=SMALLEST, minimum_score=0.8)
    unsure = StarterConfig(kind="torchvision", model=SMALLEST, minimum_score=0.1)
    first, second = make(sure), make(unsure)
    assert loads == [(SMALLEST, None)]
    assert len(first(IMAGE)) < len(second(IMAGE))  # what else is set is each one's own
    own = make(StarterConfig(kind="torchvision", model=SMALLEST, weights="/own.pth"))
    assert loads[1:] == [(SMALLEST, Path("/own.pth"))]
    del first, second
    gc.collect()
    make(sure)
    assert len(loads) == 3
    assert own is not None


def test_weights_that_are_not_there_or_of_another_network_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASKLET_CHECKPOINTS", str(tmp_path))
    with pytest.raises(StarterError, match=f"run `masklet checkpoints pull {SMALLEST}`, or name"):
        load_detector(SMALLEST, None)
    torch.save({"weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(StarterError, match="other.pth holds no weights of ssdlite"):
        load_detector(SMALLEST, tmp_path / "other.pth")
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(StarterError, match="text.pth holds no weights"):
        load_detector(SMALLEST, tmp_path / "text.pth")


def test_file_with_code_in_it_is_refused(tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "attacked",))

    torch.save(Attack(), tmp_path / "attack.pth")
    with pytest.raises(StarterError, match="attack.pth holds no weights"):
        load_detector(SMALLEST, tmp_path / "attack.pth")
    assert not (tmp_path / "attacked").exists()
