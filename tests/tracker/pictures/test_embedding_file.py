"""Embeddings in a file: written as they come, read one at a time, refused with the reason."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.tracker.little import little_picture
from tests.tracker.pictures.predictors import little_predictor
from tracker import EmbeddingError, EmbeddingFile, Embeddings, PictureOptions
from tracker.pictures.embedding_file import EmbeddingWriter, writing_embeddings

NAMES = ["a.png", 'o"dd\n\udcff é.png', "left out.png", "c.png"]
SIZES = [(40, 90), (64, 64), (33, 12)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Three of four pictures, in two batches."""
    predictor = little_predictor()
    images = [little_picture(seed, *size) for seed, size in enumerate(SIZES)]
    path = tmp_path / "pictures.safetensors"
    with writing_embeddings(path, NAMES) as writer:
        writer.add(NAMES[:2], predictor.encode(images[:2]))
        writer.add(NAMES[3:], predictor.encode(images[2:]))
    return path


def test_predictions_from_a_file_are_those_from_the_picture(file: Path) -> None:
    stored, predictor = EmbeddingFile(file), little_predictor()
    assert list(stored) == [NAMES[0], NAMES[1], NAMES[3]]
    for (name, embeddings), (seed, size) in zip(stored.items(), enumerate(SIZES), strict=True):
        assert embeddings.sizes == (size,), name
        predictor.set_embeddings(embeddings)
        from_file = predictor.predict([[5, 6]])
        predictor.set_image(little_picture(seed, *size))
        from_picture = predictor.predict([[5, 6]])
        assert from_file.masks.shape[1:] == size
        np.testing.assert_allclose(
            from_file.low_resolution_logits, from_picture.low_resolution_logits, atol=1e-4
        )


def test_stored_pictures_are_asked_as_a_batch(file: Path) -> None:
    stored, predictor = EmbeddingFile(file), little_predictor()
    predictor.set_embeddings(Embeddings.joined(list(stored.values())))
    assert predictor.predict([[5, 6]], image=2).masks.shape[1:] == SIZES[2]
    assert predictor.embeddings[-1].sizes == (SIZES[2],)


def test_the_file_is_plain_safetensors(file: Path) -> None:
    tensors = load_file(file)
    assert len(tensors) == 9
    assert tensors["0.stride16"].shape == (32, 4, 4)
    assert tensors["2.stride4"].shape == (4, 16, 16)


def test_embeddings_of_another_network_are_refused(file: Path) -> None:
    stored = EmbeddingFile(file)["a.png"]
    with pytest.raises(EmbeddingError, match="made by little with other weights"):
        little_predictor(seed=2).set_embeddings(stored)
    with pytest.raises(EmbeddingError, match="at image size 96"):
        little_predictor(PictureOptions(image_size=96)).set_embeddings(stored)


def test_files_that_are_damaged_or_something_else_are_refused(file: Path, tmp_path: Path) -> None:
    content = file.read_bytes()
    damaged = {
        "cut": content[:-100],
        "text": b"no safetensors",
        "other": content.replace(b"masklet-embeddings/1", b"somebody-elses-file1"),
    }
    for name, wrong in damaged.items():
        (tmp_path / name).write_bytes(wrong)
        with pytest.raises(EmbeddingError, match=name):
            EmbeddingFile(tmp_path / name)
    with pytest.raises(EmbeddingError, match="missing"):
        EmbeddingFile(tmp_path / "missing")
    with pytest.raises(KeyError):
        EmbeddingFile(file)["left out.png"]


def test_a_file_that_fails_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "pictures.safetensors"
    path.write_bytes(b"earlier")
    with pytest.raises(EmbeddingError, match="no picture"), writing_embeddings(path, NAMES):
        pass
    full = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OSError, match="No space"), writing_embeddings(path, NAMES):
        raise full
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == b"earlier"


def test_more_pictures_than_a_file_can_list_are_refused_at_once(tmp_path: Path) -> None:
    with (
        (tmp_path / "file").open("wb") as opened,
        pytest.raises(EmbeddingError, match="200000 pictures are more"),
    ):
        EmbeddingWriter(opened, ["picture.jpg"] * 200_000)
