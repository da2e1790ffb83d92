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

    def __init__(self, tracker: Tracker, device_name: str, metrics: Metrics, clock: Clock) -> None:
        self._tracker = tracker
        self._name = device_name
        self._metrics = metrics
        self._clock = clock
        self._due_ns = 0

    def set(self, streams: Iterable[TrackedStream]) -> None:
        """Update the gauges, at most once a second."""
        now_ns = self._clock.monotonic_ns()
        if now_ns < self._due_ns:
            return
        self._due_ns = now_ns + seconds_to_ns(_EVERY_S)
        metrics, name = self._metrics, self._name
        metrics.image_size_pixels.labels(name).set(self._tracker.config.image_size)
        metrics.memory_bank_bytes.labels(name).set(self._tracker.memory_bank_bytes)
        history_bytes = sum(stream.session.history_bytes for stream in streams)
        metrics.history_bytes.labels(name).set(history_bytes)
        # Of the process: the same for all trackers on one device.
        device = str(self._tracker.device)
        on_gpu = self._tracker.device.type == "cuda"
        allocated = torch.cuda.memory_allocated(self._tracker.device) if on_gpu else 0
        reserved = torch.cuda.memory_reserved(self._tracker.device) if on_gpu else 0
        metrics.gpu_memory_bytes.labels(device, "allocated").set(allocated)
        metrics.gpu_memory_bytes.labels(device, "reserved").set(reserved)
