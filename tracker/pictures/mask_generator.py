"""Every object of a picture: masks at a grid of points, filtered and without duplicates.

The reference's generator with the same weights finds the same masks; see ``docs/pictures.md`` for
the fields and parameters. Faster than that: the points' common part of the decoder is computed
once, masks of low predicted IoU are never drawn, and none is a bitmap of the picture's size on the
host before it is kept.

Dimensions: N points, M masks of each, n candidates, S image size.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from os import PathLike
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import nms

from tracker.config import ModelConfig
from tracker.host_arrays import on_device, sent, view_of
from tracker.images.prepared_image import PreparedImage
from tracker.images.transforms import AnyImage, points_to_model
from tracker.images.yuv import YuvPicture
from tracker.pictures.candidates import StableMask, stable_masks
from tracker.pictures.delivery import LOGIT_LIMIT
from tracker.pictures.embeddings import Embeddings
from tracker.pictures.generator_options import GeneratorOptions
from tracker.pictures.point_grids import Crop, crops_of, layered_grids
from tracker.pictures.predictor import ImagePredictor
from tracker.pictures.runs import without_small_regions
from tracker.pictures.segment import Segment
from tracker.step.admission import ensure_image

# A mask this near, in pixels, to the border of its crop may continue beyond it.
_NEAR_BORDER = 20

Picture = AnyImage | Embeddings
Search = Generator[None, None, list[Segment]]


class MaskGenerator:
    """Finds everything in a picture. Call it from one thread."""

    def __init__(self, predictor: ImagePredictor, options: GeneratorOptions | None = None) -> None:
        """``predictor`` encodes and decodes; its own pictures are left alone."""
        self.options = options or GeneratorOptions()
        self._predictor = predictor
        if self.options.point_grids is not None:
            self._grids = [_checked_grid(grid) for grid in self.options.point_grids]
        else:
            assert self.options.points_per_side is not None
            self._grids = layered_grids(
                self.options.points_per_side,
                self.options.crop_n_layers,
                self.options.crop_n_points_downscale_factor,
            )

    @classmethod
    def from_checkpoint(
        cls,
        name_or_path: str | PathLike[str] = "nano",
        config: ModelConfig | None = None,
        device: str | torch.device = "auto",
        options: GeneratorOptions | None = None,
    ) -> MaskGenerator:
        """Load a model by name (``nano``, ``sam2.1_hiera_small``, …) or from a file.

        Raises CheckpointError as ``Tracker.from_checkpoint`` does.
        """
        return cls(ImagePredictor.from_checkpoint(name_or_path, config, device), options)

    @classmethod
    def from_pretrained(
        cls,
        name: str | PathLike[str],
        device: str | torch.device = "auto",
        options: GeneratorOptions | None = None,
    ) -> MaskGenerator:
        """Like ``from_checkpoint``, and fetch it once from the Hugging Face hub if it is not here.

        ``name`` as in ``Tracker.from_pretrained``. Raises CheckpointError.
        """
        return cls(ImagePredictor.from_pretrained(name, device), options)

    def generate(self, image: Picture) -> list[dict[str, Any]]:
        """The masks of a picture, RGB uint8 (H, W, 3), as the reference's records.

        Each has ``segmentation`` (a boolean array or run lengths, by ``output_mode``), ``area``,
        ``bbox``, ``predicted_iou``, ``point_coords``, ``stability_score`` and ``crop_box``. Raises
        ValueError for what is no picture.
        """
        mode = self.options.output_mode
        return [segment.record(mode) for segment in self.segments(image)]

    def segments(self, image: Picture) -> list[Segment]:
        """``generate`` with masks as runs, which take a few kilobytes each."""
        return run(self.search(image))

    def search(self, image: Picture, points_per_pass: Callable[[], int] | None = None) -> Search:
        """``segments`` in passes of so many points (default ``points_per_batch``).

        Yields after each, so that the caller's thread can do other work; the value of the
        generator's ``StopIteration`` is the result. Raises ValueError at once for what is no
        picture, and for one that is resized or encoded already with crops.
        """
        if not isinstance(image, PreparedImage | YuvPicture | Embeddings):
            image = np.asarray(image)
            ensure_image(image)
        elif self.options.crop_n_layers:
            raise ValueError("crop_n_layers must be 0 for a picture that was prepared or encoded")
        return self._search(image, points_per_pass or (lambda: self.options.points_per_batch))

    def _search(self, image: Picture, points: Callable[[], int]) -> Search:
        options = self.options
        height, width = _size_of(image)
        crops = crops_of(height, width, options.crop_n_layers, options.crop_overlap_ratio)
        found: list[Segment] = []
        for crop in crops:
            x0, y0, x1, y1 = crop.box_xyxy
            if isinstance(image, Embeddings):
                embeddings = image
            else:
                if isinstance(image, np.ndarray):
                    part: AnyImage = self._resized(image[y0:y1, x0:x1])
                else:
                    part = image
                embeddings = self._predictor.encode([part])
                yield
            candidates = yield from self._candidates(embeddings, crop, height, width, points)
            scores = [each.predicted_iou for each in candidates]
            found += _without_duplicates(candidates, scores, options.box_nms_thresh)
        if len(crops) > 1:
            smallness = [1 / _area(each.crop_box_xyxy) for each in found]
            found = _without_duplicates(found, smallness, options.crop_nms_thresh)
        return self._tidied(found) if options.min_mask_region_area else found

    @torch.inference_mode()
    def _resized(self, pixels: npt.NDArray[np.uint8]) -> PreparedImage:
        """Antialiased bilinear without rounding to bytes: levels decide which masks are stable."""
        pixels_13HW = view_of(pixels).permute(2, 0, 1)[None].float()
        size = self._predictor.config.image_size
        resized = F.interpolate(pixels_13HW, (size, size), mode="bilinear", antialias=True)
        return PreparedImage(sent(resized, self._predictor.device), *pixels.shape[:2])

    def _candidates(
        self,
        embeddings: Embeddings,
        crop: Crop,
        height: int,
        width: int,
        points: Callable[[], int],
    ) -> Search:
        """The masks of one crop that pass the thresholds, duplicates among them."""
        x0, y0, x1, y1 = crop.box_xyxy
        grid = (self._grids[crop.layer] * (x1 - x0, y1 - y0)).astype(np.float32)
        candidates: list[Segment] = []
        begin = 0
        while begin < len(grid):
            points_N2 = grid[begin : begin + points()]
            begin += len(points_N2)
            for point_n, iou_n, logits_nhw in self._decoded(embeddings, points_N2):
                for mask in self._stable(logits_nhw, crop):
                    runs = mask.runs.moved(x0, y0)
                    if _is_cut_off(runs.box_xyxy, crop.box_xyxy, (0, 0, width, height)):
                        continue
                    x, y = points_N2[point_n[mask.row]].tolist()
                    candidates.append(
                        Segment(
                            runs,
                            height,
                            width,
                            iou_n[mask.row],
                            mask.stability,
                            (x + x0, y + y0),
                            crop.box_xyxy,
                        )
                    )
                yield
        return candidates

    def _decoded(
        self, embeddings: Embeddings, points_N2: npt.NDArray[np.float32]
    ) -> Iterator[tuple[list[int], list[float], Tensor]]:
        """Masks above the predicted IoU: the point of each, its predicted IoU and its logits."""
        device, size = self._predictor.device, self._predictor.config.image_size
        (height, width), least = embeddings.sizes[0], self.options.pred_iou_thresh
        point_N12 = on_device(points_to_model(points_N2, height, width, size)[:, None], device)
        label_N1 = torch.ones(len(points_N2), 1, dtype=torch.int64, device=device)
        multimask = self.options.multimask_output
        if not self.options.use_m2m:
            first = 1 if multimask else 0

            def wanted(iou_n4: Tensor) -> Tensor:
                return _passes(iou_n4[:, first:], least).any(dim=1)

            row_n, output = self._predictor.search(point_N12, label_N1, embeddings, wanted)
            yield _above(*self._predictor.chosen(output, multimask=multimask), least, row_n)
            return
        output = self._predictor.decode(point_N12, label_N1, embeddings=embeddings)
        logits_NMhw, _ = self._predictor.chosen(output, multimask=multimask)
        row_n = torch.arange(len(points_N2), device=device).repeat_interleave(logits_NMhw.shape[1])
        before_n1hw = logits_NMhw.flatten(0, 1).clamp(-LOGIT_LIMIT, LOGIT_LIMIT).unsqueeze(1)
        for rows, before in zip(
            row_n.split(self.options.points_per_batch),
            before_n1hw.split(self.options.points_per_batch),
            strict=True,
        ):
            refined = self._predictor.decode(
                point_N12[rows], label_N1[rows], before, embeddings=embeddings
            )
            yield _above(*self._predictor.chosen(refined, multimask=False), least, rows)

    def _stable(self, logits_nhw: Tensor, crop: Crop) -> Iterable[StableMask]:
        x0, y0, x1, y1 = crop.box_xyxy
        options = self.options
        return stable_masks(
            logits_nhw,
            y1 - y0,
            x1 - x0,
            options.mask_threshold,
            options.stability_score_offset,
            options.stability_score_thresh,
        )

    def _tidied(self, found: list[Segment]) -> list[Segment]:
        """Without small holes and regions; of new duplicates one that had none stays."""
        least = self.options.min_mask_region_area
        tidy = [
            replace(each, runs=without_small_regions(each.runs, each.height, each.width, least))
            for each in found
        ]
        unchanged = [
            float(all(map(np.array_equal, new.runs, old.runs)))
            for new, old in zip(tidy, found, strict=True)
        ]
        overlap = max(self.options.box_nms_thresh, self.options.crop_nms_thresh)
        return _without_duplicates(tidy, unchanged, overlap)


def run(search: Search) -> list[Segment]:
    """The result of a search, whose passes are done one after the other."""
    while True:
        try:
            next(search)
        except StopIteration as end:
            found: list[Segment] = end.value
            return found


def _size_of(image: Picture) -> tuple[int, int]:
    if isinstance(image, Embeddings):
        return image.sizes[0]
    return image.shape[:2] if isinstance(image, np.ndarray) else (image.height, image.width)


def _checked_grid(given: npt.ArrayLike) -> npt.NDArray[np.float64]:
    grid = np.asarray(given, dtype=np.float64)
    if grid.ndim != 2 or grid.shape[1] != 2 or not len(grid):
        raise ValueError(f"a grid of points must be (K, 2), got {grid.shape}")
    if not ((grid >= 0) & (grid <= 1)).all():
        raise ValueError("the points of a grid must be within 0..1, shares of the picture")
    return grid


def _passes(iou: Tensor, least: float) -> Tensor:
    return iou > least if least > 0 else torch.ones_like(iou, dtype=torch.bool)


def _above(
    logits_NMhw: Tensor, iou_NM: Tensor, least: float, point_N: Tensor
) -> tuple[list[int], list[float], Tensor]:
    keep_NM = _passes(iou_NM, least)
    point_NM = point_N[:, None].expand_as(keep_NM)
    return point_NM[keep_NM].tolist(), iou_NM[keep_NM].tolist(), logits_NMhw[keep_NM]


def _is_cut_off(
    box_xyxy: tuple[int, int, int, int],
    crop_xyxy: tuple[int, int, int, int],
    picture_xyxy: tuple[int, int, int, int],
) -> bool:
    """Whether a mask ends at a border of its crop that is none of the picture."""
    x0, y0, x1, y1 = box_xyxy
    return any(
        abs(side - border) <= _NEAR_BORDER < abs(side - edge)
        for side, border, edge in zip(
            (x0, y0, x1 - 1, y1 - 1), crop_xyxy, picture_xyxy, strict=True
        )
    )


def _without_duplicates(
    segments: Sequence[Segment], scores: Sequence[float], overlap: float
) -> list[Segment]:
    """Best first; boxes end at their last pixel, as in the reference."""
    if not segments:
        return []
    boxes = torch.tensor([each.box_xyxy for each in segments]).float()
    boxes[:, 2:] -= 1
    kept = nms(boxes, torch.tensor(scores, dtype=torch.float32), overlap)
    return [segments[place] for place in kept.tolist()]


def _area(box_xyxy: tuple[int, int, int, int]) -> int:
    x0, y0, x1, y1 = box_xyxy
    return (x1 - x0) * (y1 - y0)
