"""The stress suite: one difficulty per category, in steps; seeds for tuning and for reports.

| category    | steps                                                             |
|-------------|-------------------------------------------------------------------|
| hidden      | behind a wall for about 1 to 300 frames                           |
| elsewhere   | out of the picture for 15 to 90 frames, back on the other side    |
| doubles     | two look-alikes meet once or twice, and cross or turn back        |
| fast ball   | 7 to 13 pixels of 360, flying 14 to 36 pixels per frame           |
| shake       | displacements of about 3 to 10 pixels                             |
| cuts        | another scene for 5 to 30 frames                                  |
| drops       | 0, 30, 50 and 70 % of the frames lost                             |
| compression | JPEG quality 30 to 6                                              |
| rain        | 150 to 600 streaks                                                |
| clicks      | every visible object is clicked again every 12 or 25 frames       |

Defaults are chosen with ``TUNING_SEED``, published figures are measured with ``REPORTED_SEED``. A
clip's seed is one of the two plus its place in the suite, which has fewer clips than their
distance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from tracker.evaluation import effects, stagings
from tracker.evaluation.clips import ClipFrame, EvaluationClip, Split
from tracker.evaluation.effects import with_effects
from tracker.evaluation.staged import RATE_HZ
from tracker.evaluation.stagings import Staging

TUNING_SEED = 20_100
REPORTED_SEED = 30_100
PLAY_FRAMES = 50  # of the clips with effects

Size = Literal["short", "full"]
Build = Callable[[int, int, int], EvaluationClip]
"""(seed, width, height) -> clip."""


@dataclass(frozen=True, slots=True)
class Step:
    """One clip of the suite; ``short``: it is also in the short suite."""

    category: str
    name: str
    short: bool
    build: Build


def stress_clips(
    split: Split = "reported", size: Size = "full", width: int = 640, height: int = 360
) -> list[EvaluationClip]:
    """The clips of a split, always the same pictures; ``short`` is a part of ``full``."""
    first = REPORTED_SEED if split == "reported" else TUNING_SEED
    return [
        step.build(first + place, width, height)
        for place, step in enumerate(STEPS)
        if size == "full" or step.short
    ]


def _staged(category: str, name: str, stage: Callable[[int, int, int], Staging]) -> Build:
    def build(seed: int, width: int, height: int) -> EvaluationClip:
        staging = stage(seed, width, height)
        return EvaluationClip(
            name=f"{name} s{seed}",
            category=category,
            object_ids=staging.object_ids,
            frame_count=staging.frame_count,
            open=lambda: _rendered(staging),
            rate_hz=RATE_HZ,
        )

    return build


def _rendered(staging: Staging) -> Iterator[ClipFrame]:
    for index in range(staging.frame_count):
        frame = staging.scene.render(index)
        followed = set(staging.object_ids)
        yield ClipFrame(
            frame.image,
            {key: mask for key, mask in frame.masks.items() if key in followed},
            others={key: mask for key, mask in frame.masks.items() if key not in followed},
        )


def _play(category: str, name: str) -> Build:
    return _staged(
        category,
        name,
        lambda seed, width, height: stagings.open_play(seed, PLAY_FRAMES, width, height),
    )


def _hidden(frames: int) -> Build:
    return _staged(
        "hidden",
        f"{frames} frames",
        lambda seed, width, height: stagings.occlusion(seed, frames, width, height),
    )


def _elsewhere(frames: int) -> Build:
    return _staged(
        "elsewhere",
        f"{frames} frames",
        lambda seed, width, height: stagings.re_entry(seed, frames, width, height),
    )


def _doubles(meetings: int) -> Build:
    return _staged(
        "doubles",
        f"{meetings} meetings",
        lambda seed, width, height: stagings.look_alikes(seed, meetings, width, height),
    )


def _ball(diameter: float, speed: float) -> Build:
    return _staged(
        "fast ball",
        f"{diameter:.3f} at {speed:.2f}",
        lambda seed, width, height: stagings.small_ball(seed, diameter, speed, width, height),
    )


def _shaken(amplitude_px: float) -> Build:
    def build(seed: int, width: int, height: int) -> EvaluationClip:
        clip = _play("shake", f"{amplitude_px:.0f} px")(seed, width, height)
        return with_effects(clip, [effects.shake(seed, amplitude_px * height / 360)])

    return build


def _cut(frames: int) -> Build:
    def build(seed: int, width: int, height: int) -> EvaluationClip:
        other = _play("cuts", "elsewhere")(seed + 500, width, height)
        clip = _play("cuts", f"{frames} frames")(seed, width, height)
        return with_effects(clip, [effects.scene_cut(other, 15, frames)])

    return build


def _dropped(share: float) -> Build:
    def build(seed: int, width: int, height: int) -> EvaluationClip:
        clip = _play("drops", f"{100 * share:.0f} %")(seed, width, height)
        lost = effects.lost_frames(seed, share, PLAY_FRAMES)
        return with_effects(clip, [effects.dropped(lost)], PLAY_FRAMES - int(lost.sum()))

    return build


def _compressed(quality: int) -> Build:
    def build(seed: int, width: int, height: int) -> EvaluationClip:
        clip = _play("compression", f"quality {quality}")(seed, width, height)
        return with_effects(clip, [effects.compressed(quality)])

    return build


def _rained(drops: int) -> Build:
    def build(seed: int, width: int, height: int) -> EvaluationClip:
        clip = _play("rain", f"{drops} streaks")(seed, width, height)
        return with_effects(clip, [effects.rain(seed, drops)])

    return build


def _clicked(every: int) -> Build:
    def build(seed: int, width: int, height: int) -> EvaluationClip:
        return replace(_play("clicks", f"every {every}")(seed, width, height), clicked_every=every)

    return build


# New steps go to the end: a clip's seed is its place.
STEPS: tuple[Step, ...] = (
    *(Step("hidden", str(each), True, _hidden(each)) for each in (5, 15, 40, 60, 100)),
    *(Step("hidden", str(each), False, _hidden(each)) for each in (1, 10, 20, 30, 80, 150, 200)),
    Step("hidden", "300", False, _hidden(300)),
    *(Step("elsewhere", str(each), True, _elsewhere(each)) for each in (15, 45)),
    *(Step("elsewhere", str(each), False, _elsewhere(each)) for each in (30, 90)),
    *(Step("doubles", str(each), True, _doubles(each)) for each in (1, 2, 1, 2)),
    *(Step("doubles", str(each), False, _doubles(each)) for each in (1, 2, 1, 2, 1, 2)),
    Step("fast ball", "large", True, _ball(0.036, 0.04)),
    Step("fast ball", "middle", True, _ball(0.028, 0.07)),
    Step("fast ball", "small", False, _ball(0.02, 0.04)),
    Step("fast ball", "fastest", False, _ball(0.036, 0.10)),
    *(Step("shake", str(each), each == 10.0, _shaken(each)) for each in (10.0, 3.0, 6.0)),
    *(Step("cuts", str(each), each == 15, _cut(each)) for each in (15, 5, 30)),
    *(Step("drops", str(each), each == 0.5, _dropped(each)) for each in (0.5, 0.0, 0.3, 0.7)),
    *(Step("compression", str(each), each == 12, _compressed(each)) for each in (12, 30, 6)),
    *(Step("rain", str(each), each == 300, _rained(each)) for each in (300, 150, 600)),
    *(Step("clicks", str(each), each == 12, _clicked(each)) for each in (12, 25)),
)
