"""Tells a device that ran out of memory from one that is lost, however libraries report it."""

from __future__ import annotations

import torch

_CUDA_MEMORY_ALLOCATION = 2  # cudaErrorMemoryAllocation; leaves the device usable
_OF_LIBRARIES = ("CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")


def is_device_lost(error: BaseException | None) -> bool:
    """Whether the device cannot be used any more in this process."""
    return isinstance(error, torch.AcceleratorError) and not is_out_of_memory(error)


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether this error, or one it was raised in the handling of, is a lack of device memory.

    The end of a capture that failed raises an error of its own.
    """
    while error is not None:
        if isinstance(error, torch.OutOfMemoryError):
            return True
        if getattr(error, "error_code", None) == _CUDA_MEMORY_ALLOCATION:
            return True
        if any(name in str(error) for name in _OF_LIBRARIES):
            return True
        error = error.__context__
    return False
