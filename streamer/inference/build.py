"""Builds the tracker and the inference that a configuration describes."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Literal

import torch

from streamer.config.schema import MaskletConfig, TrackingConfig
from streamer.config.state_folder import cache_folder
from streamer.errors import ConfigError
from streamer.inference.inference import Inference
from streamer.inference.lifecycle import LifecycleRules
from streamer.inference.load.overload import Overload
from streamer.inference.load.rate_shares import OverloadPolicy
from streamer.inference.load.smaller_image import SmallerImage
from streamer.inference.model_choice import chosen_model, device_names
from streamer.inference.scheduler import Scheduler
from streamer.runtime.clock import Clock, seconds_to_ns
from streamer.runtime.metrics import Metrics
from streamer.types import Published
from tracker import Tracker, TrackerOptions
from tracker.options import EngineOptions

FRAMES_PER_BATCH = 16


def configured_trackers(config: MaskletConfig) -> list[Tracker]:
    """Load one for each device, which takes seconds.

    Raises ``CheckpointError`` for a model that does not load, ``ConfigError`` for an option.
    """
    tracking, model = config.tracking, config.model
    devices = device_names(model)
    shrinks = config.overload.policy == "smaller_image"
    smaller: tuple[int, ...] | Literal["auto"] = ()
    if shrinks:
        smaller = tuple(config.overload.image_sizes) or "auto"
    cache = cache_folder()
    try:
        options = TrackerOptions(
            max_objects=tracking.max_objects,
            memory_policy=tracking.memory_policy,
            fill_hole_area=tracking.fill_hole_area,
            non_overlap=tracking.non_overlap,
            compute_dtype=model.compute_dtype,
            engine=EngineOptions(
                **model.engine.model_dump(),
                smaller_image_sizes=smaller,
                path_cache=None if cache is None else str(cache),
            ),
        )
    except ValueError as error:
        raise ConfigError(f"tracking or model.engine: {error}") from error
    try:
        trackers = [
            Tracker.from_checkpoint(chosen_model(model), device=device, options=options)
            for device in devices
        ]
    except ValueError as error:
        keys = "model.compute_dtype, model.engine or overload.image_sizes"
        raise ConfigError(f"{keys}: {error}") from error
    except torch.OutOfMemoryError as error:
        raise ConfigError(
            f"the weights and the memories of {tracking.max_objects} objects do not fit "
            f"{' or '.join(devices)}; lower tracking.max_objects, or model.engine.image_size, or "
            f"choose a smaller model: {str(error).splitlines()[0]}"
        ) from error
    if shrinks and len(trackers[0].image_sizes) < 2:
        raise ConfigError(
            f"overload.policy smaller_image: half of this model's "
            f"{trackers[0].config.image_size} pixels is too small; choose another policy"
        )
    return trackers


def with_model_threads(config: MaskletConfig) -> MaskletConfig:
    """Give the inference thread all threads of the model, and this one, which loads it, none.

    libgomp lets its threads wait awake only while all pools together have no more threads than
    there are cores: with a second pool, each of a step's many operations begins with a wake-up.
    On two cores a step of nano took 33 ms with a pool here, and takes 21 without.
    """
    threads = config.model.threads or torch.get_num_threads()
    torch.set_num_threads(1)
    return config.changed(model=config.model.changed(threads=threads))


def prepares_ahead(config: MaskletConfig, device_name: str) -> bool:
    """Whether pictures are brought to the network's size in their sources' threads.

    On two cores that the step uses too, it gains nothing: of a step of nano it is 0.7 ms. With the
    model on a GPU, resizing to 1024×1024 takes a core longer than the step takes the device.
    """
    if config.model.prepare_ahead == "auto":
        return device_name.startswith("cuda")
    return config.model.prepare_ahead == "always"


def configured_inference(
    config: MaskletConfig,
    tracker: Tracker,
    *,
    device_name: str,
    publish: Callable[[Published], None],
    is_unpublished: Callable[[str], bool],
    live_streams: Callable[[Collection[str]], int],
    metrics: Metrics,
    clock: Clock,
    warm_up_progress: Callable[[int, int], None] | None,
) -> Inference:
    """The inference of all streams, with ``tracker``. Its thread is not started yet."""
    overload = config.overload
    times = (overload.floor_hz, overload.begin_after_s, overload.end_after_s)
    policy = OverloadPolicy(overload.policy)
    return Inference(
        tracker,
        Scheduler(seconds_to_ns(config.max_batch_wait_ms / 1000), FRAMES_PER_BATCH),
        SmallerImage(tracker.image_sizes, *times)
        if policy is OverloadPolicy.SMALLER_IMAGE
        else Overload(policy, *times),
        device_name=device_name,
        step_s=overload.step_ms / 1000,
        publish=publish,
        is_unpublished=is_unpublished,
        live_streams=live_streams,
        metrics=metrics,
        clock=clock,
        lifecycle=_lifecycle_rules(config.tracking),
        history_s=config.history.duration_s,
        history_bytes=round(config.history.mib * 2**20),
        threads=config.model.threads,
        warm_up_progress=warm_up_progress,
    )


def _lifecycle_rules(tracking: TrackingConfig) -> LifecycleRules:
    removed_s = tracking.lost_to_removed_s
    return LifecycleRules(
        occluded_to_lost_ns=seconds_to_ns(tracking.occluded_to_lost_s),
        occluded_after_frames=tracking.occluded_after_frames,
        occluded_after_ns=seconds_to_ns(tracking.occluded_after_s),
        reacquired_after_frames=tracking.reacquired_after_frames,
        reacquired_after_ns=seconds_to_ns(tracking.reacquired_after_s),
        lost_to_removed_ns=None if removed_s is None else seconds_to_ns(removed_s),
        lost_search_every=tracking.lost_search_every,
        least_similarity=tracking.reacquire_similarity,
    )
