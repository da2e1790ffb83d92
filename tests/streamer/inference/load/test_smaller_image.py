"""Smaller images under overload: one size after the other, up again where that fits, no flicker."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.config.schema import (
    EngineSection,
    MaskletConfig,
    ModelSection,
    OverloadConfig,
    TrackingConfig,
)
from streamer.errors import ConfigError
from streamer.inference.build import configured_trackers
from streamer.inference.load.meter import Load, StreamLoad
from streamer.inference.load.rate_shares import OverloadPolicy
from streamer.inference.load.smaller_image import SmallerImage
from tests.streamer.inference.load.test_control import Cameras, Overloaded, SlowTracker

SIZES = (256, 192, 128)


class Machine:
    """Tracks a given number of frames a second at full size, and more at smaller sizes."""

    def __init__(self, capacity_hz: float = 40.0, power: float = 2.0) -> None:
        self.overload = SmallerImage(SIZES, 1.0, begin_after_s=2.0, end_after_s=5.0)
        self.full_hz = capacity_hz
        self.power = power  # of the side that a frame costs
        self.sizes: list[int] = []

    @property
    def capacity_hz(self) -> float:
        return self.full_hz * (SIZES[0] / self.overload.image_size) ** self.power

    def second(self, **rates_hz: float) -> list[str]:
        """One second of frames at the given rates; return what is reported."""
        share = min(1.0, self.capacity_hz / max(sum(rates_hz.values()), 1e-9))
        load = Load(
            window_s=1.0,
            busy_s=sum(rates_hz.values()) * share / self.capacity_hz,
            streams={
                name: StreamLoad(round(rate), round(rate * share))
                for name, rate in rates_hz.items()
            },
        )
        reports = [
            f"{each.stream_id} {'at ' + each.detail.split()[3] if each.is_lowered else 'free'}"
            for each in self.overload.observe(load)
        ]
        self.sizes.append(self.overload.image_size)
        return reports

    @property
    def changes(self) -> int:
        return sum(a != b for a, b in zip(self.sizes, self.sizes[1:], strict=False))


def test_streams_that_fit_are_tracked_at_full_size() -> None:
    machine = Machine()
    for _ in range(20):
        assert machine.second(gate=15, yard=20) == []
    assert machine.sizes == [256] * 20
    assert not machine.overload.active


def test_size_is_reduced_until_all_fit_and_reported_to_every_stream() -> None:
    machine = Machine()
    reports = [machine.second(gate=30, yard=30) for _ in range(20)]
    # 40 frames/s at 256; 71 at 192, which is enough.
    assert machine.sizes == [256] + [192] * 19
    assert [each for each in reports if each] == [["gate at 192", "yard at 192"]]
    assert machine.overload.active
    assert machine.overload.rates_hz == {}
    assert not machine.overload.shapes
    assert machine.overload.load_ratio == pytest.approx(60 / 71, rel=0.05)


def test_smallest_size_is_the_limit_and_no_stream_is_lowered_further() -> None:
    machine = Machine()
    reports = [each for each in (machine.second(gate=150, yard=150) for _ in range(40)) if each]
    assert reports == [["gate at 192", "yard at 192"], ["gate at 128", "yard at 128"]]
    assert machine.sizes[-30:] == [128] * 30
    assert machine.overload.rates_hz == {}
    assert machine.overload.load_ratio == pytest.approx(300 / 160, rel=0.05)


@pytest.mark.parametrize("power", [1.0, 2.0, 3.5])
def test_up_again_where_the_larger_size_fits_whatever_it_costs(power: float) -> None:
    machine = Machine(power=power)
    for _ in range(20):
        machine.second(gate=150)
    assert machine.overload.image_size == 128
    # Just too much for the larger size: the costs measured on the way down keep it here.
    middle_hz = machine.full_hz * (256 / 192) ** power
    for _ in range(40):
        assert machine.second(gate=0.9 * middle_hz) == []
    reports = [machine.second(gate=0.8 * middle_hz) for _ in range(20)]
    assert machine.overload.image_size == 192
    assert [each for each in reports if each] == [["gate at 192"]]
    reports = [machine.second(gate=0.8 * machine.full_hz) for _ in range(20)]
    assert machine.overload.image_size == 256
    assert [each for each in reports if each] == [["gate free"]]
    assert not machine.overload.active


def test_up_takes_longer_than_down() -> None:
    machine = Machine()
    while machine.overload.image_size == 256:
        machine.second(gate=60)
    assert len(machine.sizes) == 2
    while machine.overload.image_size == 192:
        machine.second(gate=10)
    # The window of the change, what the memory of the rate takes, and the time that it asks for.
    assert 6 <= len(machine.sizes) - 2 <= 10


@settings(max_examples=50)
@given(
    seed=st.integers(0, 1 << 32),
    power=st.floats(0.5, 4),
    centre=st.floats(0.7, 3),
    noise=st.floats(0, 0.4),
)
def test_sizes_do_not_flicker(seed: int, power: float, centre: float, noise: float) -> None:
    """Ten minutes of a load near a limit: a premature increase doubles the wait."""
    machine, dice = Machine(capacity_hz=100, power=power), Random(seed)
    for _ in range(600):
        machine.second(gate=100 * centre * dice.uniform(1 - noise, 1 + noise))
    assert machine.changes <= 16


def test_cost_that_jumps_with_the_size_does_not_flicker() -> None:
    """Each time it is back at full size more objects are there, and it goes down again."""
    machine = Machine()
    for _ in range(600):
        machine.full_hz = 40.0 if machine.overload.image_size == 256 else 200.0
        machine.second(gate=60)
    assert machine.changes <= 14
    longest = max(
        len(run) for run in "".join("s" if size < 256 else "f" for size in machine.sizes).split("f")
    )
    assert longest >= 80


def test_stream_that_comes_later_is_reported_and_one_that_left_is_not() -> None:
    machine = Machine()
    for _ in range(4):
        machine.second(gate=30, yard=30)
    assert machine.second(gate=30, yard=30, late=5, still=0) == ["late at 192"]
    machine.overload.forget("yard")
    reports = [machine.second(gate=5, late=5) for _ in range(20)]
    assert [each for each in reports if each] == [["gate free", "late free"]]
    assert machine.overload.lowered == frozenset()


def test_file_that_waits_for_the_tracker_is_no_overload() -> None:
    overload = SmallerImage(SIZES, 1.0, 2.0, 5.0)
    for _ in range(10):
        assert overload.observe(Load(1.0, 1.0, {"file": StreamLoad(40, 40, lossless=True)})) == []
    assert overload.image_size == 256


def test_cameras_that_fall_silent_let_the_size_come_back() -> None:
    machine = Machine()
    for _ in range(6):
        machine.second(gate=60)
    assert machine.overload.image_size == 192
    reports = [machine.second() for _ in range(12)]
    assert machine.overload.image_size == 256
    assert not [each for each in reports if each]  # the stream is gone: nothing is reported


def test_one_size_is_none_to_choose_from() -> None:
    with pytest.raises(ValueError, match="no smaller size than 256"):
        SmallerImage((256,), 1.0, 2.0, 5.0)


def test_details_contain_the_size_and_the_measured_numbers() -> None:
    overload = SmallerImage(SIZES, 1.0, 2.0, 5.0)
    load = Load(1.0, 1.0, {"gate": StreamLoad(80, 40)})
    assert overload.observe(load) == []
    (change,) = overload.observe(load)
    assert change.detail == (
        "smaller_image: tracked at 192 of 256 pixels; all streams ask for 80 frames/s, this "
        "machine tracks 71 (14.1 ms a frame)"
    )


@pytest.mark.parametrize(
    ("image_sizes", "expected"), [([], (320, 224, 160)), ([288, 96], (320, 288, 96))]
)
def test_configured_tracker_can_be_set_to_the_sizes(
    image_sizes: list[int], expected: tuple[int, ...], random_nano: Path
) -> None:
    config = MaskletConfig(
        model=ModelSection(checkpoint=str(random_nano), device="cpu"),
        tracking=TrackingConfig(max_objects=1),
        overload=OverloadConfig(policy="smaller_image", image_sizes=image_sizes),
    )
    assert configured_trackers(config)[0].image_sizes == expected
    config = config.changed(overload=OverloadConfig())
    assert configured_trackers(config)[0].image_sizes == (320,)


def test_sizes_that_the_model_cannot_take_end_the_start(random_nano: Path) -> None:
    config = MaskletConfig(
        model=ModelSection(checkpoint=str(random_nano), device="cpu"),
        overload=OverloadConfig(policy="smaller_image", image_sizes=[320]),
    )
    with pytest.raises(ConfigError, match="overload.image_sizes: smaller_image_sizes must be belo"):
        configured_trackers(config)
    config = config.changed(
        model=config.model.changed(engine=EngineSection(image_size=64)),
        overload=OverloadConfig(policy="smaller_image"),
    )
    with pytest.raises(ConfigError, match="half of this model's 64 pixels is too small; choose an"):
        configured_trackers(config)


class ShrinkingTracker(SlowTracker):
    """Takes 25 ms for a frame at full size, and less by the area at smaller ones."""

    def __init__(self, clock: Cameras) -> None:
        super().__init__(clock, 0.025)
        self.at_s: list[tuple[int, float]] = []

    def set_image_size(self, image_size: int) -> None:
        super().set_image_size(image_size)
        self.frame_s = 0.025 * (image_size / 1024) ** 2
        self.at_s.append((image_size, self.clock.monotonic_ns() / 1e9))


def shrinking() -> Overloaded:
    def overload(tracker: Any) -> SmallerImage:
        return SmallerImage(tracker.image_sizes, 1.0, begin_after_s=2.0, end_after_s=5.0)

    return Overloaded(OverloadPolicy.SMALLER_IMAGE, ShrinkingTracker, overload)


def test_slow_tracker_is_set_to_smaller_images_and_back_and_no_frame_is_lost_between() -> None:
    rig = shrinking()
    for name in ("gate", "hall", "yard"):
        rig.stream(name, 20)
    for name in ("hall", "yard"):
        rig.clock.at(20, lambda name=name: rig.remove(name))
    rig.run(45)
    assert isinstance(rig.tracker, ShrinkingTracker)
    assert [size for size, _ in rig.tracker.at_s] == [768, 1024]
    assert rig.rate_hz("gate", 5, 20) == pytest.approx(20, rel=0.03)
    assert rig.rate_hz("gate", 30, 45) == pytest.approx(20, rel=0.03)
    assert [reason for name, reason in rig.reports() if name == "gate"] == [
        "overload",
        "overload_ended",
    ]
    (begun, *_) = rig.published.events("gate")
    assert str(begun.detail).startswith("smaller_image: tracked at 768 of 1024 pixels; all streams")
    assert rig.degraded("gate") == 0
    assert (
        rig.metrics.registry.get_sample_value("masklet_image_size_pixels", {"device": "cpu"})
        == 1024
    )


def test_too_much_for_the_smallest_is_tracked_in_turn() -> None:
    rig = shrinking()
    for number in range(10):
        rig.stream(f"cam{number}", 30)
    rig.run(30)
    assert isinstance(rig.tracker, ShrinkingTracker)
    assert [size for size, _ in rig.tracker.at_s] == [768, 512]
    for number in range(10):
        assert rig.rate_hz(f"cam{number}", 12, 30) == pytest.approx(16, rel=0.1)
        assert rig.degraded(f"cam{number}") == 1
    assert rig.metrics.image_size_pixels.labels("cpu")._value.get() == 512
