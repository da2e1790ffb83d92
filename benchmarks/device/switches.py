"""Switches one by one: what each of them is worth for 1 and 16 objects, prepared and ahead."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from benchmarks.device.record import Record
from benchmarks.device.scale import Scale
from benchmarks.device.scenario import REMEMBER_ALL, Streams, tracker_of
from benchmarks.device.timing import repeated_ms, spread
from tracker import RobustOptions


@dataclass(frozen=True, slots=True)
class Switch:
    """Differs from the defaults in one thing. ``cudnn``: PyTorch may choose cuDNN's attention."""

    name: str
    size: str = "tiny"
    policy: str = "robust"
    dtype: str | None = None
    half_image: bool = False
    cudnn: bool | None = None
    engine: dict[str, Any] = field(default_factory=dict)
    robust: RobustOptions | None = None


_STILL = replace(REMEMBER_ALL, camera_motion=False, scene_cuts=False)
SWITCHES = (
    Switch("as it is"),
    Switch("policy sam2", policy="sam2"),
    Switch("attention sdpa", engine={"attention": "sdpa"}),
    Switch("attention triton", engine={"attention": "triton"}),
    Switch("cudnn attention off", cudnn=False),
    Switch("graphs off", engine={"graphs": "off"}),
    Switch("no camera motion, no cuts", robust=_STILL),
    Switch("float16", dtype="float16"),
    Switch("float32", dtype="float32"),
    Switch("half the image", half_image=True),
    Switch("base_plus", size="base_plus"),
)


def run(scale: Scale, record: Record) -> None:
    """Measure what is not recorded yet; what fails is recorded with its reason."""
    most = min(16, max(scale.objects))
    for switch in SWITCHES:
        if record.has(switch.name) or (scale.rehearsal and switch.dtype == "float16"):
            continue
        try:
            record.add(switch.name, **_measured(scale, switch, most))
        except Exception as error:  # one switch that fails is a finding, the others still count
            record.add(switch.name, failed=f"{type(error).__name__}: {error}"[:300])


def _measured(scale: Scale, switch: Switch, most: int) -> dict[str, Any]:
    side = scale.image_size // 2 if switch.half_image else scale.image_size
    result: dict[str, Any] = {}
    with _cudnn(switch.cudnn):
        tracker, warm_s = tracker_of(
            scale,
            scale.config(switch.size, side),
            switch.policy,
            most=most,
            dtype=switch.dtype,
            engine=switch.engine,
            robust=switch.robust,
        )
        result["warm_up_s"] = round(warm_s, 2)
        for objects in sorted({1, most}):
            own = Streams(tracker, scale, objects, 1)
            result[f"{objects} objects"] = spread(repeated_ms(own.step, scale))
            own.close()
    return result


@contextmanager
def _cudnn(wanted: bool | None) -> Iterator[None]:
    before = torch.backends.cuda.cudnn_sdp_enabled()
    torch.backends.cuda.enable_cudnn_sdp(before if wanted is None else wanted)
    try:
        yield
    finally:
        torch.backends.cuda.enable_cudnn_sdp(before)
