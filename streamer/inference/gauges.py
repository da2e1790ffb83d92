"""Gauges of the tracker's memory and image size."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from streamer.inference.tracked_stream import TrackedStream
from streamer.runtime.clock import Clock, seconds_to_ns
from streamer.runtime.metrics import Metrics
from tracker import Tracker

_EVERY_S = 1.0


class InferenceGauges:
    """Used by the inference thread only, as everything that queries the device."""

    def __init__(self, tracker: Tracker, metrics: Metrics, clock: Clock) -> None:
        self._tracker = tracker
        self._metrics = metrics
        self._clock = clock
        self._due_ns = 0

    def set(self, streams: Iterable[TrackedStream]) -> None:
        """Update the gauges, at most once a second."""
        now_ns = self._clock.monotonic_ns()
        if now_ns < self._due_ns:
            return
        self._due_ns = now_ns + seconds_to_ns(_EVERY_S)
        self._metrics.image_size_pixels.set(self._tracker.config.image_size)
        self._metrics.memory_bank_bytes.set(self._tracker.memory_bank_bytes)
        self._metrics.history_bytes.set(sum(stream.session.history_bytes for stream in streams))
        on_gpu = self._tracker.device.type == "cuda"
        allocated = torch.cuda.memory_allocated(self._tracker.device) if on_gpu else 0
        reserved = torch.cuda.memory_reserved(self._tracker.device) if on_gpu else 0
        self._metrics.gpu_memory_bytes.labels("allocated").set(allocated)
        self._metrics.gpu_memory_bytes.labels("reserved").set(reserved)
