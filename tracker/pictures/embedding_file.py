"""Encoded pictures in a file of safetensors, written picture by picture and read one at a time.

Tensors ``INDEX.stride16``, ``INDEX.stride8`` and ``INDEX.stride4`` of each picture, (C, H, W); the
metadata holds the model and the pictures' names and sizes. Any reader of safetensors reads it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open

from tracker.errors import EmbeddingError
from tracker.memory.object_memory import ModelIdentity
from tracker.model import ImageFeatures
from tracker.pictures.embeddings import Embeddings

_FORMAT = "masklet-embeddings/1"
_LEVELS = ("stride16", "stride8", "stride4")
_DTYPES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}
# The library refuses to read a longer one.
_MOST_HEADER_BYTES = 100_000_000
# Longer than a header needs for a picture and for the model, names apart.
_PICTURE_BYTES, _MODEL_BYTES = 600, 1000


class EmbeddingWriter:
    """Writes embeddings as they come; only their names and places are kept in memory.

    The header comes first in the file and is known last: its room is reserved for all ``names``.
    """

    def __init__(self, file: BinaryIO, names: Sequence[str]) -> None:
        """Raises EmbeddingError for more names than a file can list."""
        self._file = file
        self._entries: dict[str, Any] = {}
        self._pictures: list[dict[str, Any]] = []
        self._model: ModelIdentity | None = None
        self._bytes = 0
        named = sum(len(json.dumps(json.dumps(name))) for name in names)
        room = named + _PICTURE_BYTES * len(names) + _MODEL_BYTES
        self._header_bytes = room + -room % 8  # the data is aligned
        if self._header_bytes > _MOST_HEADER_BYTES:
            raise EmbeddingError(
                f"{len(names)} pictures are more than one file of safetensors can list; divide them"
            )
        file.seek(8 + self._header_bytes)

    def add(self, names: Sequence[str], embeddings: Embeddings) -> None:
        """Write pictures of one model. Raises OSError on a full disk."""
        self._model = embeddings.model
        for name, (height, width), *maps in zip(
            names, embeddings.sizes, *embeddings.features, strict=True
        ):
            index = len(self._pictures)
            self._pictures.append({"name": name, "height": height, "width": width})
            for level, values in zip(_LEVELS, maps, strict=True):
                raw = values.contiguous().cpu().flatten().view(torch.uint8).numpy()
                self._file.write(raw)
                self._entries[f"{index}.{level}"] = {
                    "dtype": _DTYPES[values.dtype],
                    "shape": list(values.shape),
                    "data_offsets": [self._bytes, self._bytes + len(raw)],
                }
                self._bytes += len(raw)

    def finish(self) -> None:
        """Write the header. Raises EmbeddingError if there is no picture."""
        if self._model is None:
            raise EmbeddingError("there is no picture to write")
        metadata = {
            "format": _FORMAT,
            "model": self._model.name,
            "fingerprint": self._model.fingerprint,
            "pictures": json.dumps(self._pictures),
        }
        header = json.dumps({"__metadata__": metadata} | self._entries).encode()
        self._file.seek(0)
        self._file.write(self._header_bytes.to_bytes(8, "little"))
        self._file.write(header.ljust(self._header_bytes))


@contextmanager
def writing_embeddings(path: Path, names: Sequence[str]) -> Iterator[EmbeddingWriter]:
    """A writer of at most the pictures ``names``.

    The file is there, whole, when the block ends, and not at all after an error.
    """
    partial = path.with_name(f"{path.name}.partial")
    try:
        with partial.open("wb") as file:
            writer = EmbeddingWriter(file, names)
            yield writer
            writer.finish()
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


class EmbeddingFile(Mapping[str, Embeddings]):
    """The pictures of a file by name; each is read, to the host, when it is asked for."""

    def __init__(self, path: str | PathLike[str]) -> None:
        """Raises EmbeddingError for a file that is missing, damaged or of another kind."""
        try:
            file: Any = safe_open(path, framework="pt")
            metadata = file.metadata() or {}
            if metadata.get("format") != _FORMAT:
                raise EmbeddingError(f"{path} is no file of masklet image embed")
            self.model = ModelIdentity(metadata["model"], metadata["fingerprint"])
            pictures = json.loads(metadata["pictures"])
            self._sizes = {each["name"]: (each["height"], each["width"]) for each in pictures}
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, EmbeddingError):
                raise
            raise EmbeddingError(f"{path} cannot be read as embeddings: {error}") from error
        self._path, self._file = path, file
        self._index = {name: index for index, name in enumerate(self._sizes)}

    def __getitem__(self, name: str) -> Embeddings:
        """One picture. Raises KeyError for a name that is not there, EmbeddingError for damage."""
        index = self._index[name]
        try:
            maps = [self._file.get_tensor(f"{index}.{level}")[None] for level in _LEVELS]
        except SafetensorError as error:
            raise EmbeddingError(f"{self._path}: {name} cannot be read: {error}") from error
        return Embeddings(self.model, ImageFeatures(*maps), (self._sizes[name],))

    def __iter__(self) -> Iterator[str]:
        return iter(self._index)

    def __len__(self) -> int:
        return len(self._index)
