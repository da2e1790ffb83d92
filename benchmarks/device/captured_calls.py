"""Every call of a step alone, with the upload of its numbers: replayed, or made in a rehearsal."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any
from unittest import mock

from benchmarks.device.record import Record
from benchmarks.device.scale import Scale
from benchmarks.device.scenario import Streams, tracker_of
from benchmarks.device.timing import device_ms
from tracker import Tracker
from tracker.engine.calls import Key

Call = Callable[..., object]
_OBJECTS = (1, 4, 16)


def run(scale: Scale, record: Record) -> None:
    """Measure what is not recorded yet."""
    most = min(max(_OBJECTS), max(scale.objects))
    engine = {} if scale.device != "cpu" else {"fixed_shapes": "on"}
    tracker, _ = tracker_of(scale, scale.config("tiny"), "robust", most=most, engine=engine)
    for objects in sorted({min(each, most) for each in _OBJECTS}):
        own = Streams(tracker, scale, objects, 1)
        for key, call in _calls_of_a_step(tracker, own).items():
            name = f"{key[0]} {_shape_of(key)}"
            if not record.has(name):
                record.add(name, ms=round(device_ms(call, scale), 4))
        own.close()


def _calls_of_a_step(tracker: Tracker, own: Streams) -> dict[Key, Call]:
    """The calls of the next step by key, with what they were given."""
    calls = tracker._engine.calls
    found: dict[Key, Call] = {}
    make = type(calls).__call__

    def noted(self, into, count, made):  # type: ignore[no-untyped-def]
        for each in made:
            found[each.key] = partial(_alone, make, self, into, count, each)
        return make(self, into, count, made)

    with mock.patch.object(type(calls), "__call__", noted):
        own.step()
    return {key: _under(tracker, function) for key, function in found.items()}


def _alone(make: Call, calls: Any, into: Any, count: int, each: Any) -> None:
    make(calls, into, count, [each])
    calls.run()


def _under(tracker: Tracker, function: Call) -> Call:
    def call() -> None:
        tracker._call(function)

    return call


def _shape_of(key: Key) -> str:
    return " ".join("x".join(map(str, shape[0])) for shape in key[1][:3] if shape is not None)
