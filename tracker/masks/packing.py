"""Upsamples masks to their sources, packs them to bits and measures them, in one kernel on a GPU.

``torch.ops.masklet.pack_masks`` is that kernel where triton is installed, and PyTorch's operations
elsewhere. Bits are as in ``masks.bits``.

Dimensions: N objects, h w mask grid, H W source size of an object, w bytes of a row of bits.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from tracker.masks.bits import pack_bits
from tracker.masks.masks import boxes_of

_LIBRARY = torch.library.Library("masklet", "DEF")
_LIBRARY.define(
    "pack_masks(Tensor logits, Tensor places, int[] heights, int[] widths) -> (Tensor, Tensor)"
)


def bit_places(sizes: Sequence[tuple[int, int]]) -> npt.NDArray[np.int64]:
    """Height, width, and the place of the first byte of bits, (N, 3), of masks of these sizes."""
    size_N2 = np.array(sizes, np.int64)
    bytes_N = size_N2[:, 0] * -(-size_N2[:, 1] // 8)
    return np.column_stack((size_N2, np.cumsum(bytes_N) - bytes_N))


def pack_masks(
    logits_N1hw: Tensor, places_N3: Tensor, heights: Sequence[int], widths: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Masks at (H, W) of each object -> their bits one after the other, uint8, and measures.

    ``places_N3``: those of ``bit_places``, beside the logits.
    Measures, int32 (N, 5): W - x0, H - y0, x1, y1 of the half-open box, and the area; all 0 for an
    empty mask. See ``boxes_and_areas``. The host does not wait.
    """
    packed: tuple[Tensor, Tensor] = torch.ops.masklet.pack_masks(
        logits_N1hw, places_N3, heights, widths
    )
    return packed


def masks_of(
    bits: npt.NDArray[np.uint8], sizes: Sequence[tuple[int, int]]
) -> list[npt.NDArray[np.uint8]]:
    """The bits of each mask of these heights and widths, (H, w); views."""
    masks, begin = [], 0
    for height, width in sizes:
        end = begin + height * -(-width // 8)
        masks.append(bits[begin:end].reshape(height, -1))
        begin = end
    return masks


def boxes_and_areas(
    measures_N5: npt.NDArray[np.int32], heights: Sequence[int], widths: Sequence[int]
) -> npt.NDArray[np.int64]:
    """Measures on the host as half-open boxes x0 y0 x1 y1 and areas, (N, 5)."""
    result = measures_N5.astype(np.int64)
    shown_N = result[:, 4] > 0
    result[:, 0] = np.where(shown_N, np.asarray(widths) - result[:, 0], 0)
    result[:, 1] = np.where(shown_N, np.asarray(heights) - result[:, 1], 0)
    return result


def _by_operations(
    logits_N1hw: Tensor,
    places_N3: Tensor,  # noqa: ARG001
    heights: Sequence[int],
    widths: Sequence[int],
) -> tuple[Tensor, Tensor]:
    bits, measures = [], []
    for logits_1hw, height, width in zip(logits_N1hw, heights, widths, strict=True):
        resized = F.interpolate(
            logits_1hw[None], (height, width), mode="bilinear", align_corners=False
        )
        mask_1HW = resized[0] > 0
        x0, y0, x1, y1 = boxes_of(mask_1HW)[0]
        area = mask_1HW.sum()
        shown = area > 0
        measures.append(torch.stack(((width - x0) * shown, (height - y0) * shown, x1, y1, area)))
        bits.append(pack_bits(mask_1HW).flatten())
    return torch.cat(bits), torch.stack(measures).int()


def _by_kernel(
    logits_N1hw: Tensor, places_N3: Tensor, heights: Sequence[int], widths: Sequence[int]
) -> tuple[Tensor, Tensor]:
    try:
        from tracker.masks import triton_packing
    except ImportError:
        return _by_operations(logits_N1hw, places_N3, heights, widths)
    return triton_packing.pack_masks(logits_N1hw, places_N3, heights, widths)


def _shapes(
    logits_N1hw: Tensor,
    places_N3: Tensor,  # noqa: ARG001
    heights: Sequence[int],
    widths: Sequence[int],
) -> tuple[Tensor, Tensor]:
    size = sum(height * -(-width // 8) for height, width in zip(heights, widths, strict=True))
    bits = logits_N1hw.new_empty(size, dtype=torch.uint8)
    return bits, logits_N1hw.new_empty((len(heights), 5), dtype=torch.int32)


_LIBRARY.impl("pack_masks", _by_operations, "CPU")
_LIBRARY.impl("pack_masks", _shapes, "Meta")
_LIBRARY.impl("pack_masks", _by_kernel, "CUDA")
