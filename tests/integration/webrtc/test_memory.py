"""Memory is flat while pictures arrive faster than the model reads them, or are not read."""

from __future__ import annotations

import os

from benchmarks import webrtc_memory

# MEMORY_TEST_S=180 takes three minutes, with the same limits. In these 30 s decoded pictures that
# wait would be 300 MB a stream; encoded ones only 2 MB: those and whatever grows slower need the
# longer runs (`python -m benchmarks --part webrtc --memory-minutes 30`).
DURATION_S = float(os.environ.get("MEMORY_TEST_S", "30"))
LARGEST_GROWTH_MIB = 8.0


def test_memory_is_flat_with_a_slow_model_and_an_unread_track() -> None:
    cell = webrtc_memory.measure(DURATION_S)
    print(webrtc_memory.report([cell]))
    # Pictures really came, and were really too many.
    for name in webrtc_memory.STREAMS:
        assert cell["decoded"][name] > 10 * DURATION_S, cell
    assert 0 < cell["tracked"]["slow"] <= DURATION_S, cell
    assert cell["tracked"]["paused"] < 0.2 * cell["decoded"]["paused"], cell
    assert cell["growth_mib"] < LARGEST_GROWTH_MIB, cell["resident_mib"]
