"""When objects are told as hidden, lost and removed, as a configuration describes it."""

from __future__ import annotations

from streamer.config.schema import TrackingConfig
from streamer.inference.lifecycle import LifecycleRules
from streamer.runtime.clock import seconds_to_ns


def configured_lifecycle(tracking: TrackingConfig) -> LifecycleRules:
    """The rules for the objects of all streams."""
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
