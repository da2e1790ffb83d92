"""Checkpoints load strictly by name, or are refused with the reason."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from tracker import (
    PRESETS,
    CheckpointError,
    EfficientNetLiteConfig,
    HieraConfig,
    ModelConfig,
    Tracker,
)
from tracker.config import PerceiverConfig, RepVitConfig, TrunkConfig, VitConfig
from tracker.model import Sam2
from tracker.weights.checkpoint import load_checkpoint, save_checkpoint
from tracker.weights.official import checkpoint_directory
from tracker.weights.repvit_layout import unfolded_shapes

KEY_LISTS = Path(__file__).parent / "data" / "checkpoint_keys"
OFFICIAL = [path.stem for path in sorted(KEY_LISTS.glob("*.txt"))]
LITTLE = ModelConfig(
    name="little",
    image_size=64,
    trunk=HieraConfig(8, 1, (1, 1, 1, 1), (2,), (4, 2, 2, 2), (2, 2)),
    hidden_dim=32,
    memory_dim=16,
    memory_attention_layers=1,
    memory_attention_feed_forward=32,
    decoder_feed_forward=32,
    iou_head_hidden=16,
)


def key_list(name: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes in one of Meta's files."""
    lines = (KEY_LISTS / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split() for line in lines)
    return {
        key: () if shape == "scalar" else tuple(int(side) for side in shape.split("x"))
        for key, shape in pairs
    }


def official_state(name: str) -> dict[str, Tensor]:
    """One number seen through each shape: kilobytes with the keys and shapes of theirs."""
    return {key: torch.zeros(()).expand(shape) for key, shape in key_list(name).items()}


def little_state(config: ModelConfig = LITTLE) -> dict[str, Tensor]:
    """Different random values for every parameter."""
    generator = torch.Generator().manual_seed(3)
    with torch.device("meta"):
        shapes = Sam2(config).state_dict()
    return {key: torch.randn(value.shape, generator=generator) for key, value in shapes.items()}


def write(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


@pytest.mark.parametrize("name", OFFICIAL)
def test_parameters_are_those_of_the_official_file(name: str) -> None:
    with torch.device("meta"):
        state = Sam2(PRESETS[name]).state_dict()
    assert unfolded_shapes(state) == key_list(name)


@pytest.mark.parametrize("name", OFFICIAL)
def test_official_file_is_recognised_by_its_content(name: str, tmp_path: Path) -> None:
    model = load_checkpoint(write(tmp_path / "renamed.pt", {"model": official_state(name)}))
    assert model.config == PRESETS[name]


def test_size_that_a_file_of_efficienttam_was_trained_at_is_known_by_its_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = {"model": official_state("efficienttam_ti")}
    small = load_checkpoint(write(tmp_path / "efficienttam_ti_512x512.pt", content))
    assert small.config == PRESETS["efficienttam_ti_512x512"]
    assert not caplog.records
    assert load_checkpoint(write(tmp_path / "renamed.pt", content)).config.image_size == 1024
    assert "efficienttam_ti or efficienttam_ti_512x512: taken for efficienttam_ti;" in caplog.text
    with pytest.raises(CheckpointError, match="pools the memories .* use efficienttam_ti$"):
        load_checkpoint(write(tmp_path / "efficienttam_ti_2.pt", content))


def test_every_parameter_of_a_file_is_loaded(tmp_path: Path) -> None:
    state = little_state()
    model = load_checkpoint(write(tmp_path / "little.pt", {"model": state}), LITTLE)
    loaded = model.state_dict()
    assert loaded.keys() == state.keys()
    for key, value in state.items():
        torch.testing.assert_close(loaded[key], value, rtol=0, atol=0)


def test_half_precision_file_is_loaded_as_float32(tmp_path: Path) -> None:
    state = {key: value.half() for key, value in little_state().items()}
    model = load_checkpoint(write(tmp_path / "little.pt", {"model": state}), LITTLE)
    assert {value.dtype for value in model.state_dict().values()} == {torch.float32}


@pytest.mark.parametrize("trunk", [LITTLE.trunk, EfficientNetLiteConfig(), VitConfig(8, 1, 1)])
def test_own_file_carries_its_config(trunk: TrunkConfig, tmp_path: Path) -> None:
    config = LITTLE.replaced(trunk=trunk)
    model = load_checkpoint(write(tmp_path / "little.pt", {"model": little_state(config)}), config)
    path = tmp_path / "little.safetensors"
    save_checkpoint(model, path, torch.float32)
    again = load_checkpoint(path)
    assert again.config == config
    for key, value in model.state_dict().items():
        torch.testing.assert_close(again.state_dict()[key], value, rtol=0, atol=0)
    assert [file.name for file in tmp_path.iterdir() if "partial" in file.name] == []


def test_tracker_loads_a_file(tmp_path: Path) -> None:
    path = write(tmp_path / "little.pt", {"model": little_state()})
    tracker = Tracker.from_checkpoint(path, config=LITTLE, device="cpu")
    assert tracker.config == LITTLE


def test_other_generation_is_refused(tmp_path: Path) -> None:
    older = little_state(LITTLE.replaced(generation="2.0"))
    path = write(tmp_path / "older.pt", {"model": older})
    with pytest.raises(CheckpointError, match=r"3 missing \(no_obj_embed_spatial, obj_ptr_tpos"):
        load_checkpoint(path, LITTLE)

    path = write(tmp_path / "newer.pt", {"model": little_state()})
    with pytest.raises(CheckpointError, match=r"3 unexpected \(no_obj_embed_spatial"):
        load_checkpoint(path, LITTLE.replaced(generation="2.0"))


def test_missing_and_unexpected_keys_are_named(tmp_path: Path) -> None:
    state = little_state()
    state["no_mem_embedding"] = state.pop("no_mem_embed")
    path = write(tmp_path / "renamed.pt", {"model": state})
    with pytest.raises(CheckpointError) as refusal:
        load_checkpoint(path, LITTLE)
    assert str(refusal.value) == (
        f"{path} is not a checkpoint of little: "
        "1 missing (no_mem_embed); 1 unexpected (no_mem_embedding)"
    )


def test_other_shape_is_named_with_both_shapes(tmp_path: Path) -> None:
    state = little_state()
    state["no_obj_ptr"] = torch.zeros(1, 33)
    path = write(tmp_path / "wide.pt", {"model": state})
    with pytest.raises(CheckpointError, match=r"no_obj_ptr is \(1, 33\) instead of \(1, 32\)"):
        load_checkpoint(path, LITTLE)


def test_official_file_of_another_size_is_refused(tmp_path: Path) -> None:
    shapes = key_list("sam2.1_hiera_small")
    state = {key: torch.zeros(()).expand(shape) for key, shape in shapes.items()}
    path = write(tmp_path / "small.pt", {"model": state})
    with pytest.raises(CheckpointError, match="50 unexpected"):
        load_checkpoint(path, PRESETS["sam2.1_hiera_tiny"])


def test_an_unknown_network_needs_its_config(tmp_path: Path) -> None:
    path = write(tmp_path / "little.pt", {"model": little_state()})
    with pytest.raises(CheckpointError, match="pass its ModelConfig"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"state_dict": {}}, '"model"'),
        ([1, 2], '"model"'),
        ({"model": [1, 2]}, '"model"'),
        ({"model": {"weight": torch.zeros(2)}}, "no image encoder"),
        ({"model": {"weight": 3}}, "'weight' is no named tensor"),
        ({"model": {3: torch.zeros(2)}}, "3 is no named tensor"),
        ({"model": {}}, "no image encoder"),
        (
            {"model": {"image_encoder.trunk.patch_embed.proj.weight": torch.tensor(1.0)}},
            "no image encoder",
        ),
    ],
)
def test_something_else_than_a_checkpoint_is_refused(
    content: Any, reason: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "other.pt", content)
    with pytest.raises(CheckpointError, match=reason):
        load_checkpoint(path)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04broken", bytes(4096)])
def test_damaged_file_is_refused(content: bytes, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"damaged{suffix}"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=str(path)):
        load_checkpoint(path)


@pytest.mark.parametrize("kept", [0.3, 0.999])
def test_truncated_file_is_refused(kept: float, tmp_path: Path) -> None:
    path = write(tmp_path / "cut.pt", {"model": little_state()})
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(path, LITTLE)


class _Intruder:
    """Creates a folder if unpickled without restriction."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.folder),)


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    folder = tmp_path / "made by the file"
    path = write(tmp_path / "evil.pt", {"model": _Intruder(folder)})
    with pytest.raises(CheckpointError, match="could run code"):
        load_checkpoint(path)
    assert not folder.exists()


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ('{"trunk": {}, "colour": "red"}', "colour"),
        ('{"trunk": {"depth": 3}}', "depth"),
        ('{"trunk": 5}', "does not know"),
        ("{}", "trunk"),
        ("[]", "does not know"),
        ("{", "does not know"),
    ],
)
def test_own_file_with_a_config_of_another_version_is_refused(
    config: str, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "later.safetensors"
    save_file({"a": torch.zeros(1)}, path, {"masklet_config": config})
    with pytest.raises(CheckpointError, match=reason):
        load_checkpoint(path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nowhere\.pt"):
        load_checkpoint(tmp_path / "nowhere.pt")


def test_a_missing_official_file_is_reported_with_its_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASKLET_CHECKPOINTS", str(tmp_path))
    with pytest.raises(CheckpointError, match="masklet checkpoints pull sam2_hiera_large"):
        load_checkpoint("sam2_hiera_large")


def test_downloads_have_a_folder_for_every_user(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MASKLET_CHECKPOINTS", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/ada")
    assert str(checkpoint_directory()) == "/home/ada/.cache/masklet/checkpoints"
    monkeypatch.setenv("MASKLET_CHECKPOINTS", "~/models")
    assert str(checkpoint_directory()) == "/home/ada/models"
    monkeypatch.delenv("MASKLET_CHECKPOINTS")
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # a user id without a home
    assert str(checkpoint_directory()) == "/var/cache/masklet/checkpoints"


@pytest.mark.parametrize(
    ("device", "words"),
    [
        ("gpu", "no device 'gpu'; there are auto, cpu, cuda and cuda:N"),
        ("mps", "device mps is not supported, Metal has no float64; use cpu or auto"),
    ],
)
def test_unsupported_device_is_refused(device: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Tracker.random(device=device)


def test_the_embedded_model_matches_its_preset_and_has_a_calibration() -> None:
    tracker = Tracker.from_checkpoint("nano", device="cpu")
    assert tracker.config == PRESETS["nano"]
    assert tracker.calibration is not None


def test_folded_trunk_is_saved_and_loaded_as_it_is(tmp_path: Path) -> None:
    config = LITTLE.replaced(
        generation="2.0",
        trunk=RepVitConfig((8, 16, 16, 24), (1, 1, 1, 1)),
        perceiver=PerceiverConfig(latents=3, grid_side=2),
    )
    with torch.device("meta"):
        shapes = unfolded_shapes(Sam2(config).state_dict())
    state = {name: torch.rand(shape) for name, shape in shapes.items()}
    model = load_checkpoint(write(tmp_path / "published.pt", {"model": state}), config)
    save_checkpoint(model, tmp_path / "own.safetensors", torch.float32)
    again = load_checkpoint(tmp_path / "own.safetensors")
    assert again.config == config
    for key, value in model.state_dict().items():
        torch.testing.assert_close(again.state_dict()[key], value, rtol=0, atol=0)

    state["image_encoder.trunk.body.stem.conv1.weight"] = state.pop(
        "image_encoder.trunk.body.stem.conv1.c.weight"
    )
    with pytest.raises(CheckpointError, match=r"1 missing \(.*conv1.c.weight\); 1 unexpected"):
        load_checkpoint(write(tmp_path / "other.pt", {"model": state}), config)
