"""Object memories as the bytes of a safetensors file, and back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Struct
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load, save

from tracker.memory.object_memory import ModelIdentity, ObjectMemory

FORMAT = "masklet-memories-1"


class _Model(Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    fingerprint: str


class _Header(Struct, frozen=True):
    metadata: dict[str, str] = msgspec.field(name="__metadata__", default={})


def encode_memories(
    memories: Mapping[int, ObjectMemory], further: Mapping[str, str] | None = None
) -> bytes:
    """The bytes of a file with a stream's object memories, by id, and ``further`` metadata."""
    tensors: dict[str, npt.NDArray[np.generic]] = {}
    models = {}
    for object_id, memory in memories.items():
        models[object_id] = _Model(memory.model.name, memory.model.fingerprint)
        tensors[f"{object_id}/age"] = np.ascontiguousarray(memory.age_F)
        tensors[f"{object_id}/spatial"] = _packed(memory.spatial_FLc)
        tensors[f"{object_id}/pointer"] = _packed(memory.pointer_FC)
    metadata = {"format": FORMAT, "models": msgspec.json.encode(models).decode()}
    return save(tensors, metadata={**(further or {}), **metadata})


def decode_memories(content: bytes) -> tuple[dict[int, ObjectMemory], dict[str, str]]:
    """The object memories in a file's bytes, and its metadata.

    Raises ``ValueError`` for bytes that ``encode_memories`` did not make; the tracker checks
    whether a memory fits.
    """
    try:
        tensors = load(content)
        length = int.from_bytes(content[:8], "little")  # of the header, as the format has it
        metadata = msgspec.json.decode(content[8 : 8 + length], type=_Header).metadata
        if metadata.get("format") != FORMAT:
            raise ValueError("not a memory file of this version")
        models = msgspec.json.decode(metadata["models"], type=dict[int, _Model])
        return {
            object_id: ObjectMemory(
                ModelIdentity(model.name, model.fingerprint),
                tensors[f"{object_id}/age"].copy(),
                _unpacked(tensors[f"{object_id}/spatial"]),
                _unpacked(tensors[f"{object_id}/pointer"]),
            )
            for object_id, model in models.items()
        }, metadata
    except (LookupError, SafetensorError, msgspec.MsgspecError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def remembering_models(folder: Path) -> set[str]:
    """The names of the models whose object memories are in a state folder; unreadable: none."""
    names: set[str] = set()
    for path in folder.glob("memory-*.safetensors"):
        try:
            with safe_open(path, framework="numpy") as file:
                metadata = file.metadata() or {}
            models = msgspec.json.decode(metadata["models"], type=dict[int, _Model])
        except (OSError, LookupError, SafetensorError, msgspec.MsgspecError):
            continue
        names.update(model.name for model in models.values())
    return names


def _packed(array: npt.NDArray[np.float32]) -> npt.NDArray[np.float32] | npt.NDArray[np.uint16]:
    """The upper 16 bits if the lower ones are 0, as in former bfloat16: half the bytes."""
    bits = np.ascontiguousarray(array).view(np.uint32)
    if (bits & 0xFFFF).any():
        return np.ascontiguousarray(array)
    return (bits >> 16).astype(np.uint16)


def _unpacked(array: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    if array.dtype == np.uint16:
        return (array.astype(np.uint32) << 16).view(np.float32)
    if array.dtype != np.float32:
        raise ValueError(f"values of type {array.dtype}")
    return np.array(array, dtype=np.float32)  # a copy: what was read cannot be written to
