"""An overloaded tracker: which streams are lowered, what is reported, and no stream starves.

The fake clock advances by the duration of each step, so a minute of overload runs in a moment.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from streamer.inference.frame_slot import FrameSlot
from streamer.inference.inference import Inference
from streamer.inference.lifecycle import LifecycleRules
from streamer.inference.load.overload import Overload
from streamer.inference.load.rate_shares import OverloadPolicy
from streamer.inference.scheduler import Scheduler
from streamer.inference.stream_counts import StreamCounts
from streamer.runtime.clock import NANOSECONDS_PER_SECOND, seconds_to_ns
from streamer.runtime.metrics import Metrics
from tests.streamer.fakes import FakeClock, FakeTracker, Journal, picture


class Cameras(FakeClock):
    """A clock shared with cameras: as it advances, pictures arrive in slots."""

    def __init__(self) -> None:
        super().__init__()
        self.rates_hz: dict[str, float] = {}
        self.slots: dict[str, FrameSlot] = {}
        self._next_ns: dict[str, int] = {}
        self._later: list[tuple[int, Callable[[], object]]] = []
        self._began_ns = self.now_ns

    def at(self, time_s: float, action: Callable[[], object]) -> None:
        """Do something when it is ``time_s`` since the start."""
        self._later.append((self._began_ns + seconds_to_ns(time_s), action))

    def advance(self, seconds: float) -> None:
        super().advance(seconds)
        for action in [each for each in self._later if each[0] <= self.now_ns]:
            self._later.remove(action)
            action[1]()
        for name, rate_hz in self.rates_hz.items():
            due_ns = self._next_ns.setdefault(name, self.now_ns)
            while due_ns <= self.now_ns:
                self.slots[name].put(picture(time_s=due_ns / 1e9), "session", due_ns)
                due_ns += round(NANOSECONDS_PER_SECOND / rate_hz)
            self._next_ns[name] = due_ns

    def wait(self, event: threading.Event, timeout_s: float | None) -> bool:
        if not event.is_set():
            self.advance(min(0.001 if timeout_s is None else timeout_s, 0.001))
        return event.is_set()


class SlowTracker(FakeTracker):
    """Takes ``frame_s`` for every frame of a step."""

    def __init__(self, clock: Cameras, frame_s: float) -> None:
        super().__init__()
        self.clock = clock
        self.frame_s = frame_s

    def step(self, batch: Sequence[Any]) -> Any:
        self.clock.advance(self.frame_s * len(batch))
        return super().step(batch)


class Overloaded:
    """Streams on a machine that takes 25 ms for a frame."""

    def __init__(
        self,
        policy: OverloadPolicy = OverloadPolicy.LOWER_RATE,
        make_tracker: Callable[[Cameras], SlowTracker] = lambda clock: SlowTracker(clock, 0.025),
        make_overload: Callable[[Any], Overload] | None = None,
    ) -> None:
        self.clock = Cameras()
        self.tracker = make_tracker(self.clock)
        self.metrics = Metrics()
        self.published = Journal()
        tracker: Any = self.tracker
        self.inference = Inference(
            tracker,
            Scheduler(2_000_000, 16),
            Overload(policy, floor_hz=1.0, begin_after_s=2.0, end_after_s=5.0)
            if make_overload is None
            else make_overload(tracker),
            device_name="cpu",
            step_s=0.1,
            publish=self.published,
            is_unpublished=lambda _: False,
            live_streams=lambda _: len(self.clock.rates_hz),
            metrics=self.metrics,
            clock=self.clock,
            lifecycle=LifecycleRules(occluded_to_lost_ns=seconds_to_ns(5.0)),
            history_s=0.0,
            history_bytes=0,
            threads=0,
        )

    def stream(self, stream_id: str, rate_hz: float, priority: int = 5) -> None:
        counts = StreamCounts(stream_id, self.metrics)
        slot = FrameSlot(stream_id, self.inference.wake, counts.dropped)
        self.clock.slots[stream_id] = slot
        self.inference.commands.add_stream(slot, counts, 4, [], priority)
        self.clock.rates_hz[stream_id] = rate_hz

    def remove(self, stream_id: str) -> None:
        del self.clock.rates_hz[stream_id]
        self.inference.commands.remove_stream(stream_id, "stream_removed")

    def run(self, seconds: float) -> None:
        self.clock.at(seconds, self.inference.stop)
        self.inference.run()

    def tracked_s(self, stream_id: str) -> list[float]:
        """When its frames were tracked, in seconds since the start."""
        return [
            (each.tracked_monotonic_ns - 1_000_000_000_000) / 1e9
            for each in self.published.results(stream_id)
        ]

    def rate_hz(self, stream_id: str, after_s: float, before_s: float) -> float:
        times = [each for each in self.tracked_s(stream_id) if after_s <= each < before_s]
        return len(times) / (before_s - after_s)

    def reports(self) -> list[tuple[str, str | None]]:
        return [(each.stream_id, each.reason) for each in self.published.events()]

    def degraded(self, stream_id: str) -> float | None:
        return self.metrics.registry.get_sample_value("masklet_degraded", {"stream": stream_id})


def test_all_are_lowered_to_one_rate_and_reported() -> None:
    rig = Overloaded()
    for name in ("gate", "hall", "yard"):
        rig.stream(name, 30)
    rig.stream("slow", 2)
    rig.run(30)
    for name in ("gate", "hall", "yard"):
        assert rig.rate_hz(name, 5, 30) == pytest.approx((0.9 * 40 - 2) / 3, rel=0.07)
        assert rig.degraded(name) == 1
    assert rig.rate_hz("slow", 5, 30) == pytest.approx(2, abs=0.1)
    assert sorted(rig.reports()) == [(name, "overload") for name in ("gate", "hall", "yard")]
    assert rig.degraded("slow") == 0
    assert 2.0 < rig.metrics.load_ratio.labels("cpu")._value.get() < 2.6
    detail = str(rig.published.events("gate")[0].detail)
    assert detail.startswith("lower_rate: 11.")
    assert "this machine tracks 40 (25.0 ms a frame)" in detail
    assert max(rig.tracker.batch_sizes[200:]) <= 4  # steps of 100 ms


def test_lowered_streams_are_tracked_evenly_and_late_by_little() -> None:
    rig = Overloaded()
    for number in range(8):
        rig.stream(f"cam{number}", 30)
    rig.run(30)
    for number in range(8):
        times = [each for each in rig.tracked_s(f"cam{number}") if each > 6]
        gaps = [after - before for before, after in itertools.pairwise(times)]
        assert max(gaps) <= 2 * min(gaps)
        ages_ms = [
            (each.tracked_monotonic_ns - each.frame.picture.arrival_monotonic_ns) / 1e6
            for each in rig.published.results(f"cam{number}")[30:]
        ]
        assert max(ages_ms) <= 100 + 34  # a step, and the interval of the camera


def test_priority_keeps_its_rate_and_the_lowest_its_floor() -> None:
    rig = Overloaded(OverloadPolicy.PRIORITY_FIRST)
    rig.stream("gate", 25, priority=9)
    rig.stream("hall", 25, priority=5)
    for number in range(4):
        rig.stream(f"yard{number}", 25, priority=0)
    rig.run(30)
    # A step of others may take longer than its frames are apart.
    assert rig.rate_hz("gate", 6, 30) == pytest.approx(25, rel=0.1)
    assert rig.rate_hz("hall", 6, 30) == pytest.approx(0.9 * 40 - 25 - 4, rel=0.15)
    for number in range(4):
        times = rig.tracked_s(f"yard{number}")
        gaps = [after - before for before, after in itertools.pairwise(times)]
        assert max(gaps) < 1.3
        assert rig.rate_hz(f"yard{number}", 6, 30) == pytest.approx(1, abs=0.1)
    assert ("gate", "overload") not in rig.reports()


def test_priority_counts_even_where_the_floors_are_too_much() -> None:
    rig = Overloaded(OverloadPolicy.PRIORITY_FIRST)
    rig.tracker.frame_s = 0.16
    rig.stream("gate", 5, priority=9)
    for number in range(15):
        rig.stream(f"cam{number}", 5, priority=0)
    rig.run(80)
    assert rig.rate_hz("gate", 20, 80) > 2.0
    for number in range(15):
        assert rig.rate_hz(f"cam{number}", 20, 80) > 0.1


def test_priority_that_is_changed_counts_from_then_on() -> None:
    rig = Overloaded(OverloadPolicy.PRIORITY_FIRST)
    for name in ("gate", "yard"):
        rig.stream(name, 30, priority=5)
    rig.clock.at(15, lambda: rig.inference.commands.change_stream("yard", priority=9))
    rig.run(30)
    assert rig.rate_hz("yard", 5, 14) == pytest.approx(18, rel=0.1)
    assert rig.rate_hz("yard", 20, 30) == pytest.approx(30, rel=0.1)
    assert rig.rate_hz("gate", 20, 30) == pytest.approx(6, rel=0.2)


def test_it_is_over_when_streams_leave_and_that_is_reported_once() -> None:
    rig = Overloaded()
    for name in ("gate", "hall", "yard"):
        rig.stream(name, 20)
    rig.clock.at(10, lambda: rig.remove("yard"))
    rig.clock.at(10, lambda: rig.remove("hall"))
    rig.run(30)
    reports = [reason for name, reason in rig.reports() if name == "gate"]
    assert reports == ["overload", "overload_ended"]
    assert rig.degraded("gate") == 0
    assert rig.rate_hz("gate", 20, 30) == pytest.approx(20, rel=0.03)


def test_streams_come_and_go_under_overload() -> None:
    rig = Overloaded()
    rig.stream("gate", 30)
    rig.stream("hall", 30)
    for number in range(20):
        at_s = 3 + number
        rig.clock.at(at_s, lambda name=f"guest{number}": rig.stream(name, 30))
        rig.clock.at(at_s + 2.5, lambda name=f"guest{number}": rig.remove(name))
    rig.run(40)
    assert 5 < rig.rate_hz("gate", 5, 20) < 18
    # Afterwards the two are alone again, still too many for this machine.
    assert rig.rate_hz("gate", 35, 40) == pytest.approx(18, rel=0.1)
    for number in range(20):
        assert rig.reports().count((f"guest{number}", "overload_ended")) == 0
        assert len(rig.tracked_s(f"guest{number}")) >= 2


def test_stream_that_is_begun_anew_under_its_name_counts_from_nothing() -> None:
    rig = Overloaded()
    for name in ("gate", "yard"):
        rig.stream(name, 10)

    def replace_gate() -> None:
        rig.remove("gate")
        rig.stream("gate", 10)

    least = [0.0]
    rig.clock.at(20.4, replace_gate)
    ratio = rig.metrics.load_ratio.labels("cpu")._value
    for tenth in range(205, 260):
        rig.clock.at(tenth / 10, lambda: least.append(ratio.get()))
    rig.run(26)
    assert min(least[1:]) > 0.2  # without the past it is 10 frames/s of 40, and not minus 90
