"""The cost of a smaller image size during a part of a clip, in quality and in time.

nano, first-frame masks, synthetic suite. In most variants the middle third of a clip is tracked at
another size, in one of them for three of every six frames. Reported: J of each third, J&F of the
whole clip, milliseconds of a step and of a change of size. Variants alternate clip by clip.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from statistics import mean, median
from typing import Any

import numpy as np
import torch

from tracker import Tracker, TrackerOptions
from tracker.evaluation.clips import ClipFrame, EvaluationClip
from tracker.evaluation.measures import jaccard
from tracker.evaluation.runner import ClipScore, evaluate_clip
from tracker.evaluation.synthetic import synthetic_clips
from tracker.options import EngineOptions
from tracker.scenes.frame import ImageArray
from tracker.types import MaskArray, Prompt, Track

# The size of a frame by its place in the clip, 0 to 1, and its number.
Sizes = Callable[[float, int], int]
VARIANTS: dict[str, Sizes] = {
    "256": lambda place, index: 256,
    "256, 192, 256": lambda place, index: 192 if 1 / 3 <= place < 2 / 3 else 256,
    "256, 128, 256": lambda place, index: 128 if 1 / 3 <= place < 2 / 3 else 256,
    "256, 256/192 in turns, 256": lambda place, index: (
        192 if 1 / 3 <= place < 2 / 3 and index % 6 < 3 else 256
    ),
    "192": lambda place, index: 192,
}


class Switching:
    """A tracker whose image size follows a plan, as the evaluation's runner expects it."""

    def __init__(self, tracker: Tracker, sizes: Sizes) -> None:
        self._tracker, self._sizes = tracker, sizes
        self.frame_count = 0
        self._index = 0
        self.steps_s: dict[int, list[float]] = defaultdict(list)
        self.switches_s: list[float] = []

    def open_session(self) -> Any:
        """Open a session; the plan starts again."""
        self._index = 0
        return self._tracker.open_session()

    def step(self, batch: Sequence[tuple[Any, ImageArray, Sequence[Prompt]]]) -> list[list[Track]]:
        """Track at the size planned for this frame."""
        size = self._sizes(self._index / self.frame_count, self._index)
        self._index += 1
        if size != self._tracker.config.image_size:
            began_s = time.perf_counter()
            self._tracker.set_image_size(size)
            self.switches_s.append(time.perf_counter() - began_s)
        began_s = time.perf_counter()
        tracks = self._tracker.step(batch)
        self.steps_s[size].append(time.perf_counter() - began_s)
        return tracks


def main(every: int, policy: Any) -> None:
    """Print one line per variant, after the last clip."""
    torch.set_num_threads(1)
    options = TrackerOptions(memory_policy=policy, engine=EngineOptions(smaller_image_sizes="auto"))
    trackers = {
        name: Switching(Tracker.from_checkpoint("nano", device="cpu", options=options), sizes)
        for name, sizes in VARIANTS.items()
    }
    scores: dict[str, list[ClipScore]] = defaultdict(list)
    overlaps: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for clip in synthetic_clips()[::every]:
        for name, tracker in trackers.items():
            tracker.frame_count = clip.frame_count

            def note(
                clip: EvaluationClip,
                index: int,
                frame: ClipFrame,
                masks: dict[int, MaskArray],
                name: str = name,
            ) -> None:
                third = 3 * index // clip.frame_count
                overlaps[name][third] += [jaccard(masks[key], frame.truth[key]) for key in masks]

            scores[name].append(evaluate_clip(tracker, clip, on_frame=note))
    for name, own in scores.items():
        objects = [each for score in own for each in score.objects]
        both = [(each.jaccard, each.boundary_f) for each in objects]
        quality = mean([(j + f) / 2 for j, f in both if j is not None and f is not None])
        thirds = "  ".join(f"{100 * np.mean(overlaps[name][third]):5.1f}" for third in range(3))
        tracker = trackers[name]
        times = "  ".join(
            f"{size}: {1000 * median(steps_s):.1f}" for size, steps_s in tracker.steps_s.items()
        )
        switch = f"{1000 * median(tracker.switches_s):.1f}" if tracker.switches_s else "-"
        print(
            f"{name:27} J&F {100 * quality:5.1f}   J by thirds {thirds}   step ms {times}   "
            f"switch ms {switch}"
        )


def make_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "every", nargs="?", type=int, default=1, help="every N-th clip (default: all)"
    )
    parser.add_argument(
        "policy", nargs="?", choices=("sam2", "robust"), default="sam2", help="default: sam2"
    )
    return parser


if __name__ == "__main__":
    options = make_parser().parse_args()
    main(options.every, options.policy)
