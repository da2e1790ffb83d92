"""What the options that change results cost in quality and save in time, on the synthetic suite.

``python -m benchmarks.inexact_options [every-nth-clip]``: nano, first-frame masks, policy
``sam2``; the variants take turns clip by clip. Times are medians of steps and depend on what else
the machine does; J and F do not.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from statistics import mean

import torch

from tracker import Tracker, TrackerOptions
from tracker.engine.options import EngineOptions
from tracker.evaluation.runner import ClipScore, evaluate_clip
from tracker.evaluation.synthetic import synthetic_clips

VARIANTS = {
    "as trained (256)": EngineOptions(),
    "192, stretched": EngineOptions(image_size=192),
    "192, regenerated": EngineOptions(image_size=192, positions="regenerated"),
    "128, stretched": EngineOptions(image_size=128),
    "128, regenerated": EngineOptions(image_size=128, positions="regenerated"),
    "pooled keys": EngineOptions(pooled_keys=True),
    "every 2nd memory": EngineOptions(memory_stride=2),
    "every 3rd memory": EngineOptions(memory_stride=3),
}


def main(every: int) -> None:
    """Print one line a variant, after every clip."""
    torch.set_num_threads(1)
    trackers = {
        name: Tracker.from_checkpoint(
            "nano", device="cpu", options=TrackerOptions(memory_policy="sam2", engine=engine)
        )
        for name, engine in VARIANTS.items()
    }
    scores: dict[str, list[ClipScore]] = defaultdict(list)
    for done, clip in enumerate(synthetic_clips()[::every], start=1):
        for name, tracker in trackers.items():
            scores[name].append(evaluate_clip(tracker, clip))
        print(f"{done} clips")
        for name, own in scores.items():
            objects = [each for score in own for each in score.objects]
            both = [(each.jaccard, each.boundary_f) for each in objects]
            quality = mean([(j + f) / 2 for j, f in both if j is not None and f is not None])
            step_ms = 1000 * min(score.seconds_per_frame for score in own)
            print(f"{name:20} J&F {100 * quality:5.1f}   step {step_ms:6.1f} ms", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "every", nargs="?", type=int, default=1, help="one clip in so many (default: all)"
    )
    main(parser.parse_args().every)
