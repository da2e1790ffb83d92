"""The inference thread's work that a configuration describes."""

from __future__ import annotations

from collections.abc import Callable

from streamer.config.schema import MaskletConfig
from streamer.inference.configured_lifecycle import configured_lifecycle
from streamer.inference.inference import Inference
from streamer.inference.load.overload import Overload
from streamer.inference.load.rate_shares import OverloadPolicy
from streamer.inference.load.smaller_image import SmallerImage
from streamer.inference.scheduler import Scheduler
from streamer.runtime.clock import (
    Clock,
    seconds_to_ns,
)
from streamer.runtime.metrics import Metrics
from streamer.sinks.fanout import Fanout
from tracker import Tracker

FRAMES_PER_BATCH = 16


def configured_inference(
    config: MaskletConfig,
    tracker: Tracker,
    fanout: Fanout,
    *,
    live_streams: Callable[[], int],
    metrics: Metrics,
    clock: Clock,
    warm_up_progress: Callable[[int, int], None] | None,
) -> Inference:
    """``tracker`` for all streams; its results go to ``fanout``. The thread is not begun yet."""
    overload = config.overload
    times = (overload.floor_hz, overload.begin_after_s, overload.end_after_s)
    policy = OverloadPolicy(overload.policy)
    return Inference(
        tracker,
        Scheduler(seconds_to_ns(config.max_batch_wait_ms / 1000), FRAMES_PER_BATCH),
        SmallerImage(tracker.image_sizes, *times)
        if policy is OverloadPolicy.SMALLER_IMAGE
        else Overload(policy, *times),
        step_s=overload.step_ms / 1000,
        publish=fanout.publish,
        is_unpublished=fanout.holds_frame_of,
        live_streams=live_streams,
        metrics=metrics,
        clock=clock,
        lifecycle=configured_lifecycle(config.tracking),
        history_s=config.history.duration_s,
        history_bytes=round(config.history.mib * 2**20),
        threads=config.model.threads,
        warm_up_progress=warm_up_progress,
    )
