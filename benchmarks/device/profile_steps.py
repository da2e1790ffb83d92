"""Where a step's device time goes: the kernels of three steps, by total time, and the launches."""

from __future__ import annotations

from typing import Any

from torch.profiler import ProfilerActivity, profile

from benchmarks.device.record import Record
from benchmarks.device.scale import Scale
from benchmarks.device.scenario import Streams, tracker_of
from benchmarks.device.timing import wait

CELLS = (("robust", 1, 1), ("sam2", 16, 1), ("robust", 16, 16))
_STEPS = 5
_KERNELS = 40


def run(scale: Scale, record: Record) -> None:
    """Measure what is not recorded yet."""
    for policy, objects, streams in CELLS:
        key = f"{policy} {objects} objects {streams} streams"
        if record.has(key):
            continue
        most = min(objects, max(scale.objects))
        tracker, _ = tracker_of(scale, scale.config("tiny"), policy, most=most)
        own = Streams(tracker, scale, most, min(streams, most))
        own.step()
        activities = [ProfilerActivity.CPU]
        if scale.device != "cpu":
            activities.append(ProfilerActivity.CUDA)
        with profile(activities=activities) as found:
            for _ in range(_STEPS):
                own.step()
            wait(scale)
        record.add(key, **_summary(found.key_averages(), scale))


def _summary(events: Any, scale: Scale) -> dict[str, Any]:
    def device_ms(event: Any) -> float:
        spent = event.self_cpu_time_total if scale.device == "cpu" else event.self_device_time_total
        return float(spent) / 1000 / _STEPS

    wanted = "CPU" if scale.device == "cpu" else "CUDA"
    kernels = [event for event in events if str(event.device_type).endswith(wanted)]
    ordered = sorted(kernels, key=device_ms, reverse=True)
    return {
        "kernels": [
            [event.key[:120], event.count / _STEPS, round(device_ms(event), 4)]
            for event in ordered[:_KERNELS]
        ],
        "all_ms": round(sum(map(device_ms, kernels)), 4),
        "calls_of_the_driver": {
            event.key: event.count / _STEPS for event in events if event.key.startswith("cu")
        },
    }
