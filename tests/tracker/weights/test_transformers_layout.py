"""What `transformers` saves loads here, strictly, and segments and tracks the same."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Sam2Config, Sam2Model, Sam2VideoModel

from tests.tracker.agreement.reference import transformers_config
from tests.tracker.agreement.scripts import SMALL, small_weights
from tracker import PRESETS, CheckpointError, Tracker
from tracker.weights.checkpoint import load_checkpoint, save_checkpoint
from tracker.weights.transformers_config import read_transformers_config
from tracker.weights.transformers_names import to_transformers


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that ``Sam2VideoModel.save_pretrained`` wrote, with the weights of ``SMALL``."""
    folder = tmp_path_factory.mktemp("video")
    model = Sam2VideoModel(transformers_config(SMALL))
    model.load_state_dict(to_transformers(small_weights()), strict=True)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def saved_picture_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same without memory: ``Sam2Model``."""
    folder = tmp_path_factory.mktemp("pictures")
    whole = transformers_config(SMALL)
    config = Sam2Config(
        vision_config=whole.vision_config,
        prompt_encoder_config=whole.prompt_encoder_config.to_dict(),
        mask_decoder_config=whole.mask_decoder_config.to_dict(),
    )
    model = Sam2Model(config)
    weights = to_transformers(small_weights())
    model.load_state_dict({name: weights[name] for name in model.state_dict()}, strict=True)
    model.save_pretrained(folder)
    return folder


def test_every_parameter_returns_to_its_name(saved: Path) -> None:
    model = Tracker.from_pretrained(saved, device="cpu").model()
    assert model.config == SMALL.replaced(name="custom", memory_dtype="bfloat16")
    state = load_checkpoint(saved / "model.safetensors").state_dict()
    assert state.keys() == small_weights().keys()
    for name, value in small_weights().items():
        assert torch.equal(state[name], value), name


def test_picture_model_segments_and_does_not_track(saved_picture_model: Path) -> None:
    with pytest.raises(CheckpointError, match="segments pictures only .* ImagePredictor"):
        Tracker.from_checkpoint(saved_picture_model, device="cpu")
    model = load_checkpoint(saved_picture_model, for_pictures=True)
    pixels = torch.rand(1, 3, SMALL.image_size, SMALL.image_size)
    reference = Sam2Model.from_pretrained(saved_picture_model).eval()
    with torch.inference_mode():
        ours = model.encode_image(pixels)
        theirs = reference.get_image_features(pixels).fpn_hidden_states
    assert not model.memory_attention.layers[0].linear1.weight.any()
    expected = theirs[-1].permute(1, 2, 0).reshape(ours.stride16_BCHW.shape)
    torch.testing.assert_close(ours.stride16_BCHW, expected, rtol=0, atol=5e-5)


def test_loaded_weights_can_be_saved_as_our_own_format(saved: Path, tmp_path: Path) -> None:
    save_checkpoint(load_checkpoint(saved), tmp_path / "own.safetensors", torch.float32)
    again = load_checkpoint(tmp_path / "own.safetensors").state_dict()
    assert all(torch.equal(again[name], value) for name, value in small_weights().items())


@pytest.mark.parametrize("name", [name for name in PRESETS if name.startswith("sam2")])
def test_released_models_are_known_by_their_configuration(name: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(transformers_config(PRESETS[name]).to_json_string(use_diff=False))
    assert read_transformers_config(path) == (PRESETS[name], True)
    path.write_text('{"model_type": "sam2_video"}')
    assert read_transformers_config(path)[0] == PRESETS["sam2.1_hiera_tiny"]


Change = Callable[[dict[str, Any]], object]
REFUSED_TENSORS: list[tuple[Change, str]] = [
    (lambda state: state.pop("object_pointer_proj.proj_in.bias"), r"1 missing \(obj_ptr_proj"),
    (lambda state: state.update(more=torch.zeros(1)), r"1 unexpected \(more\)"),
    (lambda state: state.update({"no_memory_embedding": torch.zeros(1, 1, 3)}), "another shape"),
    (lambda state: state.pop("prompt_encoder.point_embed.weight"), "4 missing"),
    (
        lambda state: state["shared_image_embedding.positional_embedding"].add_(1),
        "positional_embedding differ",
    ),
]


@pytest.mark.parametrize(("change", "message"), REFUSED_TENSORS)
def test_tensors_that_do_not_fit_are_refused(
    change: Change, message: str, saved: Path, tmp_path: Path
) -> None:
    state = load_file(saved / "model.safetensors")
    change(state)
    save_file(state, tmp_path / "model.safetensors")
    shutil.copy(saved / "config.json", tmp_path)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(tmp_path)


REFUSED_CONFIGS: list[tuple[Change, str]] = [
    (lambda config: config.update(model_type="sam3_video"), "model_type is 'sam3_video'"),
    (lambda config: config.update(model_type="edgetam_video"), "checkpoints pull edgetam, then"),
    (lambda config: config.update(sigmoid_scale_for_mem_enc=10.0), "sigmoid_scale_for_mem_enc"),
    (
        lambda config: config["vision_config"]["backbone_config"].update(mlp_ratio=2.0),
        "vision_config.backbone_config.mlp_ratio is 2.0, here it is 4.0",
    ),
    (lambda config: config.update(image_size=[256, 512]), "not a square"),
    (lambda config: config.update(enable_occlusion_spatial_embedding=False), "one only"),
    (lambda config: config.update(vision_config=7), "describes no SAM 2"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED_CONFIGS)
def test_network_that_is_another_is_refused(
    change: Change, message: str, saved: Path, tmp_path: Path
) -> None:
    config = json.loads((saved / "config.json").read_text())
    change(config)
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").symlink_to(saved / "model.safetensors")
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(tmp_path)


def test_weights_without_their_configuration_name_the_missing_file(
    saved: Path, tmp_path: Path
) -> None:
    (tmp_path / "model.safetensors").symlink_to(saved / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"config\.json is missing"):
        load_checkpoint(tmp_path)
