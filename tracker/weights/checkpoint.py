"""Loading and saving weights: Meta's files and our own; the folders that are searched."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import pickle
from collections.abc import Mapping
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from tracker.config import (
    PRESETS,
    ConvolutionStage,
    EfficientNetLiteConfig,
    HieraConfig,
    ModelConfig,
    PerceiverConfig,
    RepVitConfig,
    TrunkConfig,
    VitConfig,
)
from tracker.errors import CheckpointError
from tracker.model import Sam2
from tracker.weights import hub
from tracker.weights.official import OFFICIAL_CHECKPOINTS, checkpoint_directory
from tracker.weights.repvit_layout import fold, unfolded_shapes
from tracker.weights.transformers_config import read_transformers_config
from tracker.weights.transformers_names import are_transformers_names, from_transformers

StateDict = dict[str, Tensor]
_log = logging.getLogger(__name__)
_FINGERPRINT_VALUES = 64  # of each tensor
# Variants of EfficientTAM with the same parameters and another attention.
_POOLED = ("_1", "_2")
# The parts of the network that segment pictures; the others are for video.
_PICTURE_PARTS = ("image_encoder", "sam_prompt_encoder", "sam_mask_decoder", "no_mem_embed")


def bundled_directories() -> tuple[Path, ...]:
    """The folders of shipped checkpoints: in the installed package, or in the checkout."""
    package = Path(__file__).resolve().parents[1]
    return package / "checkpoints", package.parent / "checkpoints"


def find_checkpoint(name_or_path: str | PathLike[str]) -> Path:
    """The file of a preset, file, folder or hub name, on this machine. Raises CheckpointError.

    A folder is one in the layout of `transformers`. Nothing is downloaded.
    """
    text = os.fspath(name_or_path)
    path = Path(text)
    if text not in PRESETS:
        if path.is_dir():
            path /= hub.WEIGHTS_FILE
        if path.is_file():
            return path
        if hub.is_hub_name(text):
            return _find_by_hub_name(text)
        raise CheckpointError(
            f"no checkpoint {text!r}: it is neither a file nor a folder with {hub.WEIGHTS_FILE}, "
            f"a name of the hub (OWNER/MODEL) nor one of {', '.join(PRESETS)}"
        )
    folders = (*bundled_directories(), checkpoint_directory())
    for folder in folders:
        for suffix in (".safetensors", ".pt"):
            candidate = folder / f"{text}{suffix}"
            if candidate.is_file():
                return candidate
    looked = ", ".join(str(folder) for folder in folders)
    if (official := OFFICIAL_CHECKPOINTS.get(text)) is None:
        raise CheckpointError(f"no file of checkpoint {text!r} in {looked}")
    if found := hub.cached_official(official):
        return found
    raise CheckpointError(
        f"no file of checkpoint {text!r} in {looked} or the cache of the hub; run: masklet "
        f"checkpoints pull {text}"
    )


def _find_by_hub_name(name: str) -> Path:
    if preset := hub.official_name(name):
        return find_checkpoint(preset)
    if found := hub.cached_file(name, hub.WEIGHTS_FILE):
        return found
    raise CheckpointError(
        f"no checkpoint {name!r}: it is neither a file nor in the cache of the hub; run: masklet "
        f"checkpoints pull {name}"
    )


def fetch_checkpoint(name_or_path: str | PathLike[str], report: hub.Report | None = None) -> Path:
    """Like ``find_checkpoint``; a hub name or an official model is downloaded if it is not here.

    ``report`` is called with bytes so far and in all; without it ``huggingface_hub`` draws its
    own bar. Raises CheckpointError.
    """
    try:
        return find_checkpoint(name_or_path)
    except CheckpointError:
        name = os.fspath(name_or_path)
        official = OFFICIAL_CHECKPOINTS.get(hub.official_name(name) or name)
        if official is not None:
            return hub.download_official(official, report)
        if Path(name).exists() or not hub.is_hub_name(name):
            raise
    return find_checkpoint(hub.download_model(name, report))


def load_checkpoint(
    name_or_path: str | PathLike[str],
    config: ModelConfig | None = None,
    *,
    for_pictures: bool = False,
) -> Sam2:
    """Build the checkpoint's model and load it; parameters must match exactly.

    Without ``config`` the model follows from the preset's name, the metadata of our own files, the
    ``config.json`` beside the weights, or the shapes of an official file. ``for_pictures`` accepts
    a file without the parts for video (``Sam2Model`` of `transformers`); they are zero then.
    Raises CheckpointError with the reason.
    """
    path = find_checkpoint(name_or_path)
    state, own_config = read_state(path)
    from_elsewhere, has_memory = are_transformers_names(state), True
    if from_elsewhere:
        own_config, has_memory = read_transformers_config(path.with_name(hub.CONFIG_FILE))
    if config is None:
        config = own_config or PRESETS.get(os.fspath(name_or_path)) or recognise(state, path)
    with torch.device("meta"):
        model = Sam2(config)
    own = model.state_dict()
    is_ours = own_config is not None and not from_elsewhere
    wanted = {name: value.shape for name, value in own.items()} if is_ours else unfolded_shapes(own)
    if from_elsewhere:
        try:
            state = from_transformers(state, wanted)
        except ValueError as error:
            raise CheckpointError(f"{path} is damaged: {error}") from error
    if not has_memory:
        if not for_pictures:
            raise CheckpointError(
                f"{path} segments pictures only (Sam2Model): it has no memory to track with; "
                "give it to ImagePredictor or MaskGenerator"
            )
        state |= {
            name: torch.zeros(shape)
            for name, shape in wanted.items()
            if not name.startswith(_PICTURE_PARTS)
        }
    reasons = differences(state, wanted)
    if reasons:
        raise CheckpointError(f"{path} is not a checkpoint of {config.name}: {reasons}")
    if not is_ours:
        state = fold(state, own)
    model.load_state_dict(
        {name: tensor.to(torch.float32) for name, tensor in state.items()}, assign=True
    )
    return model


def read_state(path: Path) -> tuple[StateDict, ModelConfig | None]:
    """The tensors of a file, and its model if recorded. Never runs code from the file."""
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # PyTorch's message recommends unsafe loading.
        raise CheckpointError(
            f"{path} is refused: not a PyTorch file, or it contains more than tensors, "
            "which could run code"
        ) from error
    except Exception as error:  # the unpickler raises almost anything on garbage
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path} cannot be read as a checkpoint: {first_line}") from error
    if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
        raise CheckpointError(f'{path} is not a SAM 2 checkpoint: it has no "model" entry')
    state = content["model"]
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise CheckpointError(f"{path} is not a SAM 2 checkpoint: {name!r} is no named tensor")
    return state, None


def fingerprint(model: Sam2) -> str:
    """A hash that identifies a set of weights: 64 hexadecimal digits.

    Covers each tensor's name, shape and first values, which differ after any training; this takes
    milliseconds. Compute it before the weights are converted to another dtype.
    """
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(tensor.flatten()[:_FINGERPRINT_VALUES].float().cpu().numpy().tobytes())
    return digest.hexdigest()


def recognise(state: StateDict, path: Path) -> ModelConfig:
    """The official preset that matches a state's keys and shapes. Raises CheckpointError.

    EfficientTAM's files for 1024² and 512² differ in neither: the file's name decides.
    """
    if any(name.startswith("image_encoder.trunk.body.") for name in state):
        return PRESETS["edgetam"]
    patch = state.get("image_encoder.trunk.patch_embed.proj.weight")
    if patch is None or patch.ndim != 4:
        raise CheckpointError(f"{path} is not a SAM 2 checkpoint: it has no image encoder")
    blocks = {name.split(".")[3] for name in state if name.startswith("image_encoder.trunk.blocks")}
    generation = "2.1" if "no_obj_embed_spatial" in state else "2.0"
    fitting = {
        config.name: config
        for config in PRESETS.values()
        # Other trunks are in our own files only, which name their model.
        if isinstance(config.trunk, HieraConfig | VitConfig)
        and (config.trunk.embed_dim, config.trunk.depth, config.generation)
        == (patch.shape[0], len(blocks), generation)
    }
    if fitting and path.stem.endswith(_POOLED):
        raise CheckpointError(
            f"{path} pools the memories that it attends to, which is not built; use "
            f"{path.stem[:-2]}"
        )
    if fitting:
        largest = next(iter(fitting.values()))
        if len(fitting) > 1 and path.stem not in fitting:
            _log.warning(
                "%s may be %s: taken for %s; name the file after its model",
                path,
                " or ".join(fitting),
                largest.name,
            )
        return fitting.get(path.stem, largest)
    raise CheckpointError(
        f"{path} matches none of {', '.join(PRESETS)} (trunk width {patch.shape[0]}, "
        f"{len(blocks)} blocks); pass its ModelConfig"
    )


def differences(have: StateDict, want: Mapping[str, torch.Size]) -> str:
    """How a state differs from the names and shapes wanted, in one line; empty if it does not."""
    reasons = []
    for title, names in (
        ("missing", sorted(want.keys() - have.keys())),
        ("unexpected", sorted(have.keys() - want.keys())),
    ):
        if names:
            reasons.append(f"{len(names)} {title} ({_some(names)})")
    wrong = [
        f"{name} is {tuple(have[name].shape)} instead of {tuple(shape)}"
        for name, shape in want.items()
        if name in have and have[name].shape != shape
    ]
    if wrong:
        reasons.append(f"{len(wrong)} of another shape ({_some(wrong)})")
    return "; ".join(reasons)


def save_checkpoint(
    model: Sam2, path: Path, dtype: torch.dtype = torch.float16, notes: dict[str, str] | None = None
) -> None:
    """Write our format atomically: safetensors with the model's config in its metadata."""
    state = {name: tensor.to(dtype).contiguous() for name, tensor in model.state_dict().items()}
    metadata = {"format": "pt", "masklet_config": json.dumps(asdict(model.config))} | (notes or {})
    partial = path.with_name(path.name + ".partial")
    save_file(state, partial, metadata)
    partial.chmod(0o644)  # safetensors creates files that only their owner can read
    partial.replace(path)


def resolve_device(device: str | torch.device) -> torch.device:
    """ "auto" is CUDA if available. Raises ValueError for a device that does not exist."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except RuntimeError as error:  # its message lists devices that this program cannot use
        raise ValueError(f"no device {device!r}; there are auto, cpu, cuda and cuda:N") from error
    if resolved.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"device {device} was requested, but CUDA is not available; use cpu or auto"
        )
    if resolved.type == "cuda" and (resolved.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device {device} was requested, but CUDA has {torch.cuda.device_count()} here, "
            "counted from cuda:0; nvidia-smi lists them"
        )
    if resolved.type == "mps":
        raise ValueError("device mps is not supported, Metal has no float64; use cpu or auto")
    return resolved


def _read_safetensors(path: Path) -> tuple[StateDict, ModelConfig | None]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read as safetensors: {error}") from error
    text = metadata.get("masklet_config")
    return state, None if text is None else _config_from(text, path)


def _config_from(text: str, path: Path) -> ModelConfig:
    try:
        fields = json.loads(text)
        if (perceiver := fields.pop("perceiver", None)) is not None:
            perceiver = PerceiverConfig(**perceiver)
        return ModelConfig(trunk=_trunk_from(fields.pop("trunk")), perceiver=perceiver, **fields)
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{path} describes a model that this version does not know: {error}"
        ) from error


def _trunk_from(values: dict[str, Any]) -> TrunkConfig:
    """The trunk whose fields these are: no two kinds have the same."""
    if values.keys() == {"stages"}:
        return EfficientNetLiteConfig(tuple(ConvolutionStage(**each) for each in values["stages"]))
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }
    if "position_side" in fields:
        return VitConfig(**fields)
    return RepVitConfig(**fields) if "stage_depths" in fields else HieraConfig(**fields)


def _some(names: list[str], count: int = 3) -> str:
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more
