"""The tracker that a configuration describes."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Literal

import torch

from streamer.config.schema import MaskletConfig
from streamer.errors import ConfigError
from tracker import Tracker, TrackerOptions
from tracker.engine.options import EngineOptions
from tracker.policy.options import RobustOptions


def configured_tracker(config: MaskletConfig) -> Tracker:
    """Load it, which takes seconds.

    Raises ``CheckpointError`` for a model that does not load, ``ConfigError`` for an option.
    """
    tracking, model = config.tracking, config.model
    shrinks = config.overload.policy == "smaller_image"
    smaller: tuple[int, ...] | Literal["auto"] = ()
    if shrinks:
        smaller = tuple(config.overload.image_sizes) or "auto"
    try:
        options = TrackerOptions(
            max_objects=tracking.max_objects,
            memory_policy=tracking.memory_policy,
            robust=RobustOptions(hypotheses=tracking.hypotheses),
            fill_hole_area=tracking.fill_hole_area,
            non_overlap=tracking.non_overlap,
            compute_dtype=model.compute_dtype,
            engine=EngineOptions(**asdict(model.engine), smaller_image_sizes=smaller),
        )
    except ValueError as error:
        raise ConfigError(f"tracking or model.engine: {error}") from error
    try:
        tracker = Tracker.from_checkpoint(
            model.checkpoint or model.name, device=model.device, options=options
        )
    except ValueError as error:
        raise ConfigError(f"model.device, model.engine or overload.image_sizes: {error}") from error
    if shrinks and len(tracker.image_sizes) < 2:
        raise ConfigError(
            f"overload.policy smaller_image: half of this model's {tracker.config.image_size} "
            "pixels is too small; choose another policy"
        )
    return tracker


def with_model_threads(config: MaskletConfig) -> MaskletConfig:
    """Give the inference thread all threads of the model, and this one, which loads it, none.

    libgomp lets its threads wait awake only while all pools together have no more threads than
    there are cores: with a second pool, each of a step's many operations begins with a wake-up.
    On two cores a step of nano took 33 ms with a pool here, and takes 21 without.
    """
    threads = config.model.threads or torch.get_num_threads()
    torch.set_num_threads(1)
    return replace(config, model=replace(config.model, threads=threads))


def prepares_ahead(config: MaskletConfig, device_name: str) -> bool:
    """Whether pictures are brought to the network's size in their sources' threads.

    On two cores that the step uses too, it gains nothing: of a step of nano it is 0.7 ms. With the
    model on a GPU, resizing to 1024×1024 takes a core longer than the step takes the device.
    """
    if config.model.prepare_ahead == "auto":
        return device_name.startswith("cuda")
    return config.model.prepare_ahead == "always"
