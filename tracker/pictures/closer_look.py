"""A second look at what is small in its picture: the part around it fills the network's view.

A network that sees 320 pixels of a photograph sees a few of a person in the crowd. Where a box, or
the mask that a click gave, takes a small part of the picture, that part is encoded by itself and
the same prompt is asked of it. Every look is the mean of two, one of them mirrored.
``step.closer_look`` does the same on a stream.

Dimensions: N objects, K points of each, M masks of each, h w mask grid, S image size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tracker.config import ModelConfig
from tracker.host_arrays import on_device
from tracker.model import DecoderOutput
from tracker.pictures.embeddings import Embeddings
from tracker.pictures.options import PictureOptions
from tracker.pictures.prompts import PromptRows
from tracker.step.window import (
    AT_ONCE,
    WAYS,
    Labels,
    Points,
    Window,
    has_box,
    whole,
    window_of,
)


class Network(Protocol):
    """The part of an ``ImagePredictor`` that looks."""

    options: PictureOptions
    device: torch.device

    @property
    def config(self) -> ModelConfig:
        """At the image size in use."""

    def encode(self, images: Sequence[npt.NDArray[np.uint8]]) -> Embeddings:
        """Encode pictures as one batch."""

    def decode(
        self,
        points_NK2: Tensor,
        labels_NK: Tensor,
        mask_logits_N1hw: Tensor | None,
        image_N: Tensor | None,
        embeddings: Embeddings | None,
    ) -> DecoderOutput:
        """The decoder's masks of prompts on some of these pictures."""

    def chosen(self, output: DecoderOutput, *, multimask: bool) -> tuple[Tensor, Tensor]:
        """The masks that are handed out, and their predicted IoU."""


class Look(NamedTuple):
    """What was seen of one object: ``logits_Mhw`` and ``iou_M`` as of a whole picture."""

    window: Window
    logits_Mhw: Tensor
    iou_M: Tensor

    def on_whole(self, height: int, width: int, outside: float) -> Tensor:
        """The logits (M, h, w) on the grid of the picture, ``outside`` the part a constant."""
        side = self.logits_Mhw.shape[-1]
        return self.window.on_whole(self.logits_Mhw, height, width, side, outside)


def look_closer(
    network: Network,
    picture: npt.NDArray[np.uint8],
    rows: PromptRows,
    logits_NMhw: Tensor,
    iou_NM: Tensor,
    *,
    multimask: bool,
) -> dict[int, Look]:
    """The closer looks that are taken, by object; ``logits_NMhw`` and ``iou_NM`` are the first's.

    A box says where the object is: its closer look is always taken. A click's first mask may be a
    part of the object: its closer look is taken if the network thinks more of it.
    """
    height, width = picture.shape[:2]
    size = network.config.image_size
    points_NK2 = rows.points_NK2 * (np.array((width, height), np.float32) / size)
    best_N = iou_NM.argmax(dim=1).tolist()
    windows: dict[int, Window] = {}
    for place, points_K2 in enumerate(points_NK2):
        mask_hw = logits_NMhw[place, best_N[place]] > network.options.mask_threshold
        window = window_of(points_K2, rows.labels_NK[place], mask_hw, height, width)
        if window is not None:
            windows[place] = window
    looks: dict[int, Look] = {}
    for places in _in_groups(windows):
        parts = [
            np.ascontiguousarray(picture[y : y + high, x : x + wide])
            for x, y, wide, high in (windows[place] for place in places)
        ]
        seen = [
            _ask(
                network,
                network.encode([mirrored_of(part) for part in parts] if mirrored else parts),
                torch.arange(len(places), device=network.device),
                [
                    windows[place].prompt(
                        points_NK2[place], rows.labels_NK[place], mirrored=mirrored
                    )
                    for place in places
                ],
                multimask=multimask,
                mirrored=mirrored,
            )
            for mirrored in WAYS
        ]
        for place, logits_Mhw, iou_M in zip(places, *mean_of(seen), strict=True):
            if has_box(rows.labels_NK[place]) or iou_M.max() > iou_NM[place].max():
                looks[place] = Look(windows[place], logits_Mhw, iou_M)
    return looks


def look_mirrored(
    network: Network,
    mirrored: Embeddings,
    rows: PromptRows,
    *,
    multimask: bool,
) -> tuple[Tensor, Tensor]:
    """The masks (N, M, h, w) of prompts on a picture and their predicted IoU, as its mirror image
    ``mirrored`` has them, turned back."""
    size = network.config.image_size
    prompts = [
        whole(size, size).prompt(points_K2, labels_K, mirrored=True)
        for points_K2, labels_K in zip(rows.points_NK2, rows.labels_NK, strict=True)
    ]
    only = torch.zeros(len(prompts), dtype=torch.int64, device=network.device)
    return _ask(network, mirrored, only, prompts, multimask=multimask, mirrored=True)


def mirrored_of(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """A picture (H, W, 3), left and right exchanged."""
    return np.ascontiguousarray(picture[:, ::-1])


def mean_of(seen: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """The mean of masks and of their predicted IoU."""
    logits, iou = (torch.stack(each).mean(dim=0) for each in zip(*seen, strict=True))
    return logits, iou


def _ask(
    network: Network,
    embeddings: Embeddings,
    image_N: Tensor,
    prompts: Sequence[tuple[Points, Labels]],
    *,
    multimask: bool,
    mirrored: bool,
) -> tuple[Tensor, Tensor]:
    """Prompts in shares (0..1) of pictures -> masks (N, M, h, w) and their predicted IoU."""
    points_NK2 = np.stack([points for points, _ in prompts]) * network.config.image_size
    output = network.decode(
        on_device(points_NK2, network.device),
        on_device(np.stack([labels for _, labels in prompts]), network.device),
        None,
        image_N,
        embeddings,
    )
    logits_NMhw, iou_NM = network.chosen(output, multimask=multimask)
    return logits_NMhw.flip(-1) if mirrored else logits_NMhw, iou_NM


def _in_groups(windows: dict[int, Window]) -> Iterator[list[int]]:
    places = iter(windows)
    while group := list(islice(places, AT_ONCE)):
        yield group
