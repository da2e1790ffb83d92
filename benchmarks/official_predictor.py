"""Meta's video predictor, from the package ``sam2`` that a third party uploads to PyPI.

Only the benchmark installs it, from source and without its dependencies: except ``iopath``, which
is listed below, they are present already. Its tree is that of the public repository. It expects a
whole video; here it gets one whose frames are produced on request.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch

from tracker import ModelConfig

PACKAGES = ("sam2==1.1.0", "iopath>=0.1.10", "portalocker>=2")
# The length of its propagation; it builds no list of frames.
FRAMES = 1 << 20

_CONFIG_FILES = {"tiny": "t", "small": "s", "base_plus": "b+", "large": "l"}

Box = tuple[float, float, float, float]


def install() -> None:
    """Install the predictor into this environment, unless it is there.

    Raises CalledProcessError; pip reports the reason on standard error.
    """
    if importlib.util.find_spec("sam2") is not None:
        return
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    subprocess.run(
        [*command, "--no-build-isolation", *PACKAGES],
        check=True,
        env=os.environ | {"SAM2_BUILD_CUDA": "0"},
    )
    importlib.invalidate_caches()


def build(
    config: ModelConfig, weights: dict[str, torch.Tensor], device: torch.device, compiled: bool
) -> Any:
    """The predictor with our weights; ``compiled`` is its own ``vos_optimized``."""
    install()
    from sam2 import sam2_video_predictor
    from sam2.build_sam import build_sam2_video_predictor

    sam2_video_predictor.tqdm = lambda frames, **_: frames  # no progress bar for an endless video

    predictor = build_sam2_video_predictor(
        _config_file(config),
        ckpt_path=None,
        device=str(device),
        vos_optimized=compiled,
        # Its post-processing by hand, without filling holes: that needs its CUDA extension and
        # otherwise warns at every mask.
        apply_postprocessing=False,
        hydra_overrides_extra=[
            f"++model.image_size={config.image_size}",
            "++model.sam_mask_decoder_extra_args.dynamic_multimask_via_stability=true",
            "++model.sam_mask_decoder_extra_args.dynamic_multimask_stability_delta=0.05",
            "++model.sam_mask_decoder_extra_args.dynamic_multimask_stability_thresh=0.98",
            "++model.binarize_mask_from_pts_for_mem_enc=true",
        ],
    )
    predictor.load_state_dict(weights, strict=True)
    return predictor


def build_image_model(config: ModelConfig, weights: dict[str, torch.Tensor]) -> Any:
    """The model of its image predictor and generator, with our weights, on the processor."""
    install()
    from sam2.build_sam import build_sam2

    model = build_sam2(
        _config_file(config),
        ckpt_path=None,
        device="cpu",
        hydra_overrides_extra=[f"++model.image_size={config.image_size}"],
    )
    model.load_state_dict(weights, strict=True)
    return model


def _config_file(config: ModelConfig) -> str:
    generation, _, size = config.name.partition("_hiera_")
    return f"configs/{generation}/{generation}_hiera_{_CONFIG_FILES[size]}.yaml"


class _Frames:
    """In place of the list of all frames: every index returns the newest one."""

    def __init__(self) -> None:
        self.newest_CHW = torch.empty(0)

    def __len__(self) -> int:
        return FRAMES

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.newest_CHW


class OfficialStream:
    """One video of the predictor: pixels (3, S, S) in, logits at source size out."""

    def __init__(self, predictor: Any, height: int, width: int) -> None:
        self._predictor = predictor
        self._size = height, width
        self._frames = _Frames()
        self._state: Any = None
        self._propagation: Iterator[Any] | None = None

    def step(self, pixels_CHW: torch.Tensor, boxes: dict[int, Box] | None = None) -> torch.Tensor:
        """Logits (N, 1, height, width) of the newest frame; ``boxes`` only with the first."""
        self._frames.newest_CHW = pixels_CHW
        if self._propagation is None:
            with mock.patch(
                "sam2.sam2_video_predictor.load_video_frames",
                return_value=(self._frames, *self._size),
            ):
                self._state = self._predictor.init_state("frames on request")
            for object_id, box in (boxes or {}).items():
                self._predictor.add_new_points_or_box(
                    self._state, frame_idx=0, obj_id=object_id, box=box
                )
            self._propagation = self._predictor.propagate_in_video(self._state)
        logits: torch.Tensor = next(self._propagation)[2]
        return logits

    @contextmanager
    def without_heavy_parts(self) -> Iterator[None]:
        """A context that skips the image encoder and memory attention."""
        ((_, features),) = self._state["cached_features"].values()

        def attend(curr: Any, **_: Any) -> Any:
            return curr[0] if isinstance(curr, list) else curr

        def cached(image: Any) -> Any:
            return features

        with (
            mock.patch.object(self._predictor.memory_attention, "forward", attend),
            mock.patch.object(self._predictor, "forward_image", cached),
        ):
            yield
