"""While objects come and go nothing is compiled anew and nothing is left behind: by counters."""

from __future__ import annotations

from tests.benchmarks import steady_step

FRAMES = 300
# An object that leaves takes everything with it; what Python keeps of its own is far below this.
TOLERATED_BYTES = 256 * 1024


def test_objects_that_come_and_go_bring_no_new_shape_and_leave_nothing() -> None:
    steadiness = steady_step.run(FRAMES)
    assert steadiness.shapes > 0
    assert steadiness.shapes_in_service == 0
    settled = steady_step.SETTLED_AFTER_FRAMES // steady_step.CHANGE_EVERY_FRAMES
    in_use = steadiness.in_use_bytes[settled:]
    assert max(in_use) - in_use[0] < TOLERATED_BYTES, in_use
