"""Nothing grows while pictures come faster than the model takes them, or nobody takes them."""

from __future__ import annotations

import os

from tests.benchmarks import webrtc_memory

# Three minutes, or half an hour, with the same limits: MEMORY_TEST_S=180. In these 40 s unread
# pictures alone would be 400 MB a stream; what grows by a packet or a small object a picture needs
# the longer runs (`python -m tests.benchmarks --part webrtc --memory-minutes 30`).
DURATION_S = float(os.environ.get("MEMORY_TEST_S", "40"))
LARGEST_GROWTH_MIB = 16.0


def test_memory_is_flat_with_a_slow_model_and_a_track_that_nobody_reads() -> None:
    cell = webrtc_memory.measure(DURATION_S)
    print(webrtc_memory.report([cell]))
    # Pictures really came, and were really too many.
    for name in webrtc_memory.STREAMS:
        assert cell["decoded"][name] > 10 * DURATION_S, cell
    assert 0 < cell["tracked"]["slow"] <= DURATION_S, cell
    assert cell["tracked"]["paused"] < 0.2 * cell["decoded"]["paused"], cell
    assert cell["growth_mib"] < LARGEST_GROWTH_MIB, cell["resident_mib"]
