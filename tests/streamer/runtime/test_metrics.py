"""The metrics as a Prometheus server sees them."""

from __future__ import annotations

import subprocess

from streamer.inference.stream_counts import STAGE_OF_DROP, StreamCounts
from streamer.runtime.metrics import Metrics
from streamer.types import DropReason
from tests.streamer.fakes import picture


def filled() -> Metrics:
    metrics = Metrics()
    for stream_id in ("gate", "yard"):
        counts = StreamCounts(stream_id, metrics)
        counts.decoded(picture())
        counts.tracked((1, 2))
        for reason in DropReason:
            counts.dropped(reason, 2)
        metrics.stream_up.labels(stream_id).set(1)
        metrics.stream_connect_failures.labels(stream_id, "timeout").inc()
        metrics.stream_reconnects.labels(stream_id).inc()
        metrics.pts_discontinuities.labels(stream_id).inc()
        metrics.tracked_objects.labels(stream_id, "visible").set(1)
        metrics.track_events.labels(stream_id, "added").inc()
    metrics.capture_to_publish_seconds.labels("arrival").observe(0.04)
    metrics.prompts.labels("applied").inc()
    metrics.gpu_memory_bytes.labels("cpu", "allocated").set(0)
    metrics.sink_items_dropped.labels("zeromq", "frame").inc()
    metrics.sink_errors.labels("zeromq").inc()
    metrics.zmq_messages_sent.labels("frame").inc()
    metrics.zmq_messages_dropped.labels("frame").inc()
    metrics.build_info.labels("0.1.0", "nano", "cpu").set(1)
    return metrics


def test_promtool_finds_nothing_wrong_with_the_exposition() -> None:
    checked = subprocess.run(
        ["promtool", "check", "metrics"],
        input=filled().exposition(),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert (checked.stdout + checked.stderr).strip() == b""


def test_there_are_no_created_series() -> None:
    assert b"_created" not in filled().exposition()


def test_dropped_frames_are_counted_by_stage_and_reason() -> None:
    text = filled().exposition().decode()
    for stage, reason in (
        ("decode", "corrupt"),
        ("decode", "no_keyframe"),
        ("decode", "decode_error"),
        ("decode", "behind"),
        ("slot", "rate_limit"),
        ("slot", "superseded"),
        ("inference", "failed"),
    ):
        wanted = (
            f'masklet_frames_dropped_total{{reason="{reason}",stage="{stage}",stream="gate"}} 2.0'
        )
        assert wanted in text
    assert 'masklet_frames_received_total{stream="gate"} 9.0' in text  # 1 decoded, 4 · 2 lost


def test_every_reason_for_a_drop_has_its_stage() -> None:
    assert STAGE_OF_DROP.keys() == set(DropReason)


def test_series_of_a_removed_stream_are_removed_and_stay_removed() -> None:
    metrics = filled()
    counts = StreamCounts("gate", metrics)
    counts.close()
    counts.decoded(picture())
    counts.dropped(DropReason.SUPERSEDED)
    counts.tracked(())
    text = metrics.exposition().decode()
    assert "gate" not in text
    assert "yard" in text
