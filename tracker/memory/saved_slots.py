"""Copies of memory slots as tensors on the host, under names that a safetensors file can hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from tracker.errors import ObjectMemoryError
from tracker.memory.bank import SlotCopy

Copy = TypeVar("Copy", bound=SlotCopy)


def slot_tensors(copy: SlotCopy, prefix: str) -> dict[str, Tensor]:
    """Every field of a copy; arrays of the host as their bytes."""
    result = {}
    for field in fields(copy):
        value = getattr(copy, field.name)
        if not isinstance(value, Tensor):
            value = torch.from_numpy(np.frombuffer(value.tobytes(), np.uint8).copy())
        result[prefix + field.name] = value.cpu().contiguous()
    return result


def slot_copy(tensors: Mapping[str, Tensor], prefix: str, like: Copy) -> Copy:
    """Read what ``slot_tensors`` returned for a bank of which ``like`` is a copy.

    Raises ObjectMemoryError for tensors that are missing or of another bank's shape.
    """
    values: dict[str, Any] = {}
    for field in fields(like):
        expected, found = getattr(like, field.name), tensors.get(prefix + field.name)
        shape = expected.shape if isinstance(expected, Tensor) else (expected.nbytes,)
        if found is None or found.shape != shape:
            raise ObjectMemoryError(
                f"a saved slot lacks {field.name} of shape {tuple(shape)}: it is of another model, "
                "or damaged"
            )
        if isinstance(expected, Tensor):
            values[field.name] = found.to(expected)
        else:
            array = np.frombuffer(found.numpy().tobytes(), expected.dtype)
            values[field.name] = array.reshape(expected.shape)[()]
    return replace(like, **values)
