"""Weights by the names of the hub: the real ``huggingface_hub`` against a hub on loopback."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.conftest import find_free_port
from tests.fake_hub import COMMIT, TOKEN, FakeHub, fake_hub
from tests.tracker.little import LITTLE
from tracker import CheckpointError, Tracker
from tracker.model import Sam2
from tracker.weights import hub as hub_module
from tracker.weights.checkpoint import fetch_checkpoint, find_checkpoint, save_checkpoint
from tracker.weights.official import OFFICIAL_CHECKPOINTS

OFFICIAL = OFFICIAL_CHECKPOINTS["sam2.1_hiera_tiny"]
CONTENT = bytes(range(256)) * 12_000


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    monkeypatch.setenv("MASKLET_CHECKPOINTS", str(tmp_path / "checkpoints"))
    with fake_hub(tmp_path / "cache", monkeypatch) as served:
        yield served


@pytest.fixture
def official(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    """The hub with Meta's repository of the tiny model, whose file is ``CONTENT``."""
    folder = tmp_path / "meta"
    folder.mkdir()
    (folder / OFFICIAL.file_name).write_bytes(CONTENT)
    hub.models[OFFICIAL.hub_name] = folder
    published = replace(OFFICIAL, sha256=hashlib.sha256(CONTENT).hexdigest())
    monkeypatch.setitem(OFFICIAL_CHECKPOINTS, OFFICIAL.name, published)
    return hub


@pytest.fixture
def little(hub: FakeHub, tmp_path: Path) -> FakeHub:
    """The hub with somebody's model in one file."""
    folder = tmp_path / "ada"
    folder.mkdir()
    torch.manual_seed(0)
    save_checkpoint(Sam2(LITTLE), folder / "model.safetensors", torch.float32)
    (folder / "flax_model.msgpack").write_bytes(b"the same in another format")
    hub.models["ada/little-sam2"] = folder
    return hub


def test_official_model_is_fetched_once_by_its_name_there(official: FakeHub) -> None:
    path = fetch_checkpoint("facebook/sam2.1-hiera-tiny")
    assert path.read_bytes() == CONTENT
    sent = len(official.requests)
    assert fetch_checkpoint("facebook/sam2.1-hiera-tiny") == path
    assert find_checkpoint("sam2.1_hiera_tiny") == path
    assert len(official.requests) == sent


def test_tracker_of_a_repository_is_loaded_and_nothing_else_of_it(little: FakeHub) -> None:
    tracker = Tracker.from_pretrained("ada/little-sam2", device="cpu")
    assert tracker.config == LITTLE
    assert not any("flax" in request for request in little.requests)
    little.status = 503
    assert Tracker.from_checkpoint("ada/little-sam2", device="cpu").config == LITTLE


def test_repository_of_several_models_asks_for_one_of_them(hub: FakeHub) -> None:
    with pytest.raises(CheckpointError, match="several models; name one of them: efficienttam_ti,"):
        fetch_checkpoint("yunyangx/efficient-track-anything")
    assert hub.requests == []


def test_revision_is_part_of_the_name(little: FakeHub) -> None:
    path = fetch_checkpoint(f"ada/little-sam2@{COMMIT}")
    assert COMMIT in str(path)


def test_connection_that_is_cut_is_resumed(
    official: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1 << 20)
    official.cut_after = 1_500_000
    reported: list[tuple[int, int]] = []
    hub_module.download_official(
        OFFICIAL_CHECKPOINTS[OFFICIAL.name], lambda *at: reported.append(at)
    )
    assert official.requests[-1].endswith("bytes=1048576-")
    assert reported[-1] == (len(CONTENT), len(CONTENT))


def test_other_content_is_deleted_from_the_cache(official: FakeHub, tmp_path: Path) -> None:
    (official.models[OFFICIAL.hub_name] / OFFICIAL.file_name).write_bytes(b"another")
    with pytest.raises(CheckpointError, match=r"not the published file .* it was deleted"):
        fetch_checkpoint(OFFICIAL.name)
    with pytest.raises(CheckpointError, match="masklet checkpoints pull sam2.1_hiera_tiny"):
        find_checkpoint(OFFICIAL.name)


def test_token_opens_a_private_model_and_is_never_shown(
    little: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    little.token = TOKEN
    monkeypatch.setenv("HF_TOKEN", "hf_wrongButSecret")
    with pytest.raises(CheckpointError, match=r"refuses .*sam2 \(401\).*hf auth login") as refused:
        fetch_checkpoint("ada/little-sam2")
    assert "Secret" not in str(refused.value)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert fetch_checkpoint("ada/little-sam2").is_file()


def test_unknown_model_and_a_hub_that_fails_are_one_sentence(little: FakeHub) -> None:
    with pytest.raises(CheckpointError, match=r"127\.0\.0\.1 has no ada/nothing"):
        fetch_checkpoint("ada/nothing")
    little.status = 503
    with pytest.raises(CheckpointError, match="answered 503"):
        fetch_checkpoint("ada/little-sam2")


def test_without_a_network_the_sentence_comes_at_once(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    address = f"http://user:secret@127.0.0.1:{find_free_port()}"
    monkeypatch.setenv("HF_ENDPOINT", address)
    for name in ("ada/little-sam2", "sam2.1_hiera_tiny"):
        with pytest.raises(CheckpointError, match=r"127\.0\.0\.1 is not reachable") as failed:
            fetch_checkpoint(name)
        assert "secret" not in str(failed.value)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match="HF_HUB_OFFLINE forbids"):
        fetch_checkpoint("ada/little-sam2")


def test_without_the_library_the_command_is_named(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(CheckpointError, match="pip install huggingface_hub"):
        fetch_checkpoint("ada/little-sam2")


@pytest.mark.parametrize("name", ["sam3", "a/b/c", "../up", "-x/y", "", "ada/", "nowhere.pt"])
def test_what_cannot_be_a_name_is_refused_without_a_request(name: str, hub: FakeHub) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint"):
        fetch_checkpoint(name)
    assert hub.requests == []


def test_folder_that_cannot_be_written_is_named(little: FakeHub, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        (tmp_path / "cache").write_text("no folder")
    else:
        (tmp_path / "cache").mkdir(mode=0o500)
    with pytest.raises(CheckpointError, match="cannot be written"):
        fetch_checkpoint("ada/little-sam2")
