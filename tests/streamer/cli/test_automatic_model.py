"""``model=auto``: what the daemon starts with, on a processor, on CUDA, and without a network."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from streamer.cli import automatic_model
from streamer.cli.automatic_model import with_automatic_model
from streamer.config.schema import MaskletConfig
from streamer.inference.model_choice import chosen_model
from streamer.streams.state.memory_file import encode_memories
from tests.conftest import find_free_port
from tests.fake_hub import FakeHub, fake_hub
from tracker import ModelIdentity, ObjectMemory
from tracker.weights.official import OFFICIAL_CHECKPOINTS

BETTER = "sam2.1_hiera_small"
CONTENT = bytes(range(256)) * 1000


@pytest.fixture
def config(tmp_path: Path) -> MaskletConfig:
    return MaskletConfig(state_directory=str(tmp_path / "state"))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A machine with CUDA, and a hub with Meta's small model; Meta's own address is down."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setenv("MASKLET_CHECKPOINTS", str(tmp_path / "checkpoints"))
    official = OFFICIAL_CHECKPOINTS[BETTER]
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / official.file_name).write_bytes(CONTENT)
    nowhere = f"http://127.0.0.1:{find_free_port()}/"
    here = replace(official, sha256=hashlib.sha256(CONTENT).hexdigest(), url=nowhere)
    monkeypatch.setitem(OFFICIAL_CHECKPOINTS, BETTER, here)
    with fake_hub(tmp_path / "hub", monkeypatch) as served:
        served.models[official.hub_name] = tmp_path / "meta"
        yield served


@pytest.fixture(autouse=True)
def all_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def save_object_of(model: str, config: MaskletConfig) -> None:
    """What an earlier run left behind: one object that this model remembers."""
    memory = ObjectMemory(
        ModelIdentity(model, "0" * 64),
        np.zeros(1, np.int64),
        np.zeros((1, 4, 2), np.float32),
        np.zeros((1, 8), np.float32),
    )
    folder = Path(config.state_directory)
    folder.mkdir()
    (folder / "memory-gate-1.safetensors").write_bytes(encode_memories({1: memory}))


def test_default_on_a_processor_is_embedded_and_says_how_to_have_better_masks(
    config: MaskletConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert with_automatic_model(config).model.name == "nano"
    (line,) = caplog.messages
    assert "masklet checkpoints pull sam2.1_hiera_tiny" in line


def test_better_model_is_fetched_once_for_cuda(
    hub: FakeHub, config: MaskletConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    assert chosen_model(config.model) == "nano"  # nothing is fetched outside the daemon's start
    assert with_automatic_model(config).model.name == BETTER
    assert f"{BETTER}: 0.3 of 0.3 MB" in capsys.readouterr().err
    sent = len(hub.requests)
    assert with_automatic_model(config).model.name == chosen_model(config.model) == BETTER
    assert len(hub.requests) == sent


def test_processor_that_is_asked_for_is_no_cuda(hub: FakeHub, config: MaskletConfig) -> None:
    on_processor = config.changed(model=config.model.changed(device="cpu"))
    assert with_automatic_model(on_processor).model.name == "nano"
    assert hub.requests == []


def test_without_a_network_the_embedded_model_starts_with_one_warning(
    hub: FakeHub,
    config: MaskletConfig,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{find_free_port()}")
    assert with_automatic_model(config).model.name == "nano"
    (warning,) = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert "127.0.0.1 is not reachable" in warning
    assert f"masklet checkpoints pull {BETTER}" in warning


def test_network_that_leads_nowhere_does_not_hold_up_the_start(
    hub: FakeHub,
    config: MaskletConfig,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    hub.silent.set()
    monkeypatch.setattr(automatic_model, "_BEGIN_S", 0.2)
    assert with_automatic_model(config).model.name == "nano"
    hub.silent.clear()
    assert "nothing answered within 0.2 s" in caplog.text


def test_embedded_model_stays_while_it_remembers_saved_objects(
    hub: FakeHub, config: MaskletConfig, caplog: pytest.LogCaptureFixture
) -> None:
    save_object_of("nano", config)
    assert with_automatic_model(config).model.name == "nano"
    assert hub.requests == []
    assert "remembers the objects in" in caplog.text
    assert with_automatic_model(config, fresh=True).model.name == BETTER


def test_objects_of_the_better_model_and_damaged_files_change_nothing(
    hub: FakeHub, config: MaskletConfig
) -> None:
    save_object_of(BETTER, config)
    (Path(config.state_directory) / "memory-gate-2.safetensors").write_bytes(b"damaged")
    assert with_automatic_model(config).model.name == BETTER


def test_model_that_is_named_is_left_alone(hub: FakeHub, config: MaskletConfig) -> None:
    named = config.changed(model=config.model.changed(name="ada/little-sam2"))
    assert with_automatic_model(named) is named
    assert hub.requests == []
