"""Every Prometheus name of the daemon, in one place.

| name (prefix ``masklet_``) | meaning |
|---|---|
| ``stream_up`` | 1 while the stream delivers frames |
| ``stream_last_frame_timestamp_seconds`` | Unix time at which the last frame arrived |
| ``stream_connect_failures_total`` | attempts that ended without a picture, by reason |
| ``stream_breaks_total`` | live connections that ended in an error, by reason |
| ``stream_reconnects_total`` | attempts after the first one |
| ``frames_received_total`` | pictures the source received, damaged ones included |
| ``frames_decoded_total`` | pictures the source delivered |
| ``frames_tracked_total`` | frames that went through the tracker |
| ``frames_dropped_total`` | frames that were not tracked, by stage and reason |
| ``pts_discontinuities_total`` | presentation times that jumped or restarted |
| ``stage_duration_seconds`` | decode: arrival to picture; wait: picture to batch; \
track: the step, on a GPU with what is left of the one before; publish: result to sink |
| ``capture_to_publish_seconds`` | capture to the end of publishing, by the capture clock |
| ``batch_size`` | frames in one step of the tracker |
| ``load_ratio`` | frames that live streams ask for, to those that the device could track: above 1 \
it cannot keep up |
| ``degraded`` | 1 while the stream is tracked at a lower rate, or in smaller images: the device \
cannot keep up |
| ``image_size_pixels`` | side of the network's input images now |
| ``tracked_objects`` | objects of a stream on its last frame, by state |
| ``track_events_total`` | events of objects and streams, by kind |
| ``prompts_total`` | prompts by result: applied, rejected |
| ``starter_looks_total`` | looks of a stream's starter by result: looked, standing_still, failed, \
timeout, busy |
| ``starter_look_seconds`` | time of a look |
| ``starter_detections_total`` | detections of starters, by verdict |
| ``boxes_messages_total`` | messages of detections: accepted, superseded, or why refused |
| ``memory_bank_bytes`` | the tracker's memory bank |
| ``history_bytes`` | frames that can still be prompted, of all streams, on host and device |
| ``gpu_memory_bytes`` | device memory: allocated, reserved (0 without a GPU) |
| ``sink_items_dropped_total`` | items that a sink was too slow for, by kind |
| ``sink_errors_total`` | items a sink failed to send |
| ``state_writes_total`` | writes of the saved state, by result: written, failed |
| ``zmq_messages_sent_total``, ``zmq_messages_dropped_total`` | ZeroMQ messages by kind |
| ``zmq_connections_ended_total`` | connections of consumers that were ended: too_many, \
sent_too_much, revoked |
| ``zmq_subscribers`` | subscriptions held by consumers |
| ``picture_seconds`` | time to draw, and to encode (vp8, h264, jpeg), one picture |
| ``picture_frames_dropped_total`` | pictures not encoded in time (encoder_busy), or not sent to \
one viewer (viewer_behind) |
| ``webrtc_peers`` | WebRTC connections by kind: publisher, viewer |
| ``source_threads_detached`` | abandoned threads still blocked in a read |
| ``build_info`` | version, model, device |

``load_ratio``, ``image_size_pixels`` and the bytes are of one device each: its name is a label.
Labels are bounded: stream ids come from the configuration, all others are fixed sets. Never an
object id, never a URL. ``remove_stream`` removes the series of a stream that is gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.metrics import MetricWrapperBase

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
LATENCY_BUCKETS_S = (
    0.005, 0.01, 0.02, 0.033, 0.05, 0.067, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1, 2, 5,
)  # fmt: skip
MetricT = TypeVar("MetricT", bound=MetricWrapperBase)
PICTURE_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.033, 0.05, 0.1, 0.2)
BATCH_BUCKETS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64)


class Metrics:
    """The daemon's metrics in a registry of their own; safe to use from any thread."""

    def __init__(self) -> None:
        # The library's only switch for the `*_created` series is process-wide.
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=self.registry)
        self._of_streams: list[MetricWrapperBase] = []

        self.stream_up = self._gauge("stream_up", "1 while the stream delivers frames", "stream")
        self.stream_last_frame_timestamp_seconds = self._gauge(
            "stream_last_frame_timestamp_seconds", "Unix time of the last frame", "stream"
        )
        self.stream_connect_failures = self._counter(
            "stream_connect_failures_total",
            "Attempts that ended without a picture",
            "stream",
            "reason",
        )
        self.stream_breaks = self._counter(
            "stream_breaks_total", "Live connections that ended in an error", "stream", "reason"
        )
        self.stream_reconnects = self._counter(
            "stream_reconnects_total", "Attempts after the first one", "stream"
        )
        self.frames_received = self._counter(
            "frames_received_total", "Pictures the source received, damaged ones included", "stream"
        )
        self.frames_decoded = self._counter(
            "frames_decoded_total", "Pictures the source delivered", "stream"
        )
        self.frames_tracked = self._counter(
            "frames_tracked_total", "Frames that went through the tracker", "stream"
        )
        self.frames_dropped = self._counter(
            "frames_dropped_total", "Frames that were not tracked", "stream", "stage", "reason"
        )
        self.pts_discontinuities = self._counter(
            "pts_discontinuities_total", "Presentation times that jumped or restarted", "stream"
        )
        self.stage_duration_seconds = self._histogram(
            "stage_duration_seconds", "Time of each stage", LATENCY_BUCKETS_S, "stage"
        )
        self.capture_to_publish_seconds = self._histogram(
            "capture_to_publish_seconds",
            "Capture to the end of publishing, by the capture clock",
            LATENCY_BUCKETS_S,
            "clock_source",
        )
        self.batch_size = self._histogram("batch_size", "Frames in one step", BATCH_BUCKETS)
        self.load_ratio = self._gauge(
            "load_ratio", "Frames asked for, to those the device could track", "device"
        )
        self.degraded = self._gauge(
            "degraded",
            "1 while rate or image size are lowered: the device cannot keep up",
            "stream",
        )
        self.image_size_pixels = self._gauge(
            "image_size_pixels", "Side of the network's input images now", "device"
        )
        self.tracked_objects = self._gauge(
            "tracked_objects", "Objects of a stream on its last frame", "stream", "state"
        )
        self.track_events = self._counter(
            "track_events_total", "Events of objects and streams", "stream", "event"
        )
        self.prompts = self._counter("prompts_total", "Prompts by result", "result")
        self.starter_looks = self._counter(
            "starter_looks_total", "Looks of a starter by result", "stream", "result"
        )
        self.starter_look_seconds = self._histogram(
            "starter_look_seconds", "Time of a starter's look", LATENCY_BUCKETS_S
        )
        self.starter_detections = self._counter(
            "starter_detections_total", "Detections of starters", "stream", "verdict"
        )
        self.boxes_messages = self._counter(
            "boxes_messages_total", "Messages of detections by result", "result"
        )
        self.memory_bank_bytes = self._gauge(
            "memory_bank_bytes", "The tracker's memory bank", "device"
        )
        self.history_bytes = self._gauge(
            "history_bytes", "Frames that can still be prompted", "device"
        )
        self.gpu_memory_bytes = self._gauge("gpu_memory_bytes", "Device memory", "device", "kind")
        self.sink_items_dropped = self._counter(
            "sink_items_dropped_total", "Items that a sink was too slow for", "sink", "kind"
        )
        self.sink_errors = self._counter("sink_errors_total", "Items a sink failed to send", "sink")
        self.zmq_messages_sent = self._counter(
            "zmq_messages_sent_total", "ZeroMQ messages handed to the socket", "kind"
        )
        self.zmq_messages_dropped = self._counter(
            "zmq_messages_dropped_total", "ZeroMQ messages that could not be sent", "kind"
        )
        self.zmq_connections_ended = self._counter(
            "zmq_connections_ended_total", "Connections of consumers that were ended", "reason"
        )
        self.zmq_subscribers = self._gauge("zmq_subscribers", "Subscriptions held by consumers")
        self.picture_seconds = self._histogram(
            "picture_seconds", "Time to draw and to encode one picture", PICTURE_BUCKETS_S, "step"
        )
        self.picture_frames_dropped = self._counter(
            "picture_frames_dropped_total", "Pictures that were not shown", "stream", "reason"
        )
        self.source_threads_detached = self._gauge(
            "source_threads_detached", "Abandoned threads still blocked in a read"
        )
        self.state_writes = self._counter(
            "state_writes_total", "Writes of the saved state, by result", "result"
        )
        self.webrtc_peers = self._gauge("webrtc_peers", "WebRTC connections", "kind")
        self.build_info = self._gauge(
            "build_info", "Version, model and device", "version", "model", "device"
        )

        # Present from the start at 0: a rate misses the event with which a series appears.
        for result in ("applied", "rejected"):
            self.prompts.labels(result)
        for kind in ("publisher", "viewer"):
            self.webrtc_peers.labels(kind)
        for result in ("written", "failed"):
            self.state_writes.labels(result)

    def remove_stream(self, stream_id: str) -> None:
        """Remove every series of a stream that is gone."""
        for metric in self._of_streams:
            metric.remove_by_labels({"stream": stream_id})

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format 0.0.4, ``CONTENT_TYPE``."""
        return prometheus_client.generate_latest(self.registry)

    def _counter(self, name: str, documentation: str, *labels: str) -> Counter:
        return self._known(
            Counter(f"masklet_{name}", documentation, labels, registry=self.registry), labels
        )

    def _gauge(self, name: str, documentation: str, *labels: str) -> Gauge:
        return self._known(
            Gauge(f"masklet_{name}", documentation, labels, registry=self.registry), labels
        )

    def _histogram(
        self, name: str, documentation: str, buckets: Sequence[float], *labels: str
    ) -> Histogram:
        return self._known(
            Histogram(
                f"masklet_{name}", documentation, labels, registry=self.registry, buckets=buckets
            ),
            labels,
        )

    def _known(self, metric: MetricT, labels: tuple[str, ...]) -> MetricT:
        if "stream" in labels:
            self._of_streams.append(metric)
        return metric
