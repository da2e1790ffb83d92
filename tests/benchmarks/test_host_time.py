"""The host's part of a step, measured without a device."""

from __future__ import annotations

from benchmarks.host_time import Graph, measured, no_device, steps


def test_steps_replay_graphs_that_do_nothing_and_their_time_is_taken() -> None:
    with no_device():
        step = steps("sam2.1_hiera_tiny", "robust", streams=2, objects=1)
        next(step)
        before = Graph.replays
        median_ms, least_ms = measured(step, 3)
        assert Graph.replays - before == 3 * 8  # as many a step as on a device
    assert 0 < least_ms <= median_ms
