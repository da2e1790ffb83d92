"""Agreement of masks in bfloat16 with those in float32, on the synthetic suite.

Same memory: before every frame the bfloat16 tracker receives the memories of the float32 one, so
that only one frame's rounding shows. Free running: each keeps its own memories from the first
frame on. There some masks differ by more than rounding: a nearly even decision went the other way
and later frames built on it. Masks with an IoU below 0.9 are therefore counted separately.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
from torch import Tensor

from tracker import Tracker, TrackerOptions
from tracker.evaluation.measures import jaccard
from tracker.evaluation.prompts import first_frame_prompt
from tracker.evaluation.synthetic import synthetic_clips
from tracker.model import ImageFeatures, Sam2
from tracker.model.precision import encode_throughout
from tracker.types import MaskArray

KINDS = ("same memory", "free running")
ANOTHER_MASK = 0.9


def make_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", default="nano")
    parser.add_argument("--clips", type=int, default=None, help="stop before this clip")
    parser.add_argument("--begin", type=int, default=0, help="start with this clip (first: 0)")
    parser.add_argument("--every", type=int, default=1, help="take every N-th of these")
    parser.add_argument(
        "--image-encoder",
        action="store_true",
        help="round the image encoder alone, norms and sums too, as a CUDA device does for auto",
    )
    return parser


def main() -> int:
    """Print the mean mask IoU of each kind, by category and over all frames."""
    options = make_parser().parse_args()
    exact = _tracker(options.checkpoint, "float32")
    dtype = "float32" if options.image_encoder else "bfloat16"
    rounded = {kind: _tracker(options.checkpoint, dtype) for kind in KINDS}
    for tracker in rounded.values() if options.image_encoder else ():
        round_encoder(tracker.model())
    agreement: dict[tuple[str, str], list[float]] = {}
    quality: dict[str, list[float]] = {}
    for clip in synthetic_clips()[options.begin : options.clips : options.every]:
        own = exact.open_session()
        sessions = {kind: tracker.open_session() for kind, tracker in rounded.items()}
        for index, frame in enumerate(clip.open()):
            prompts = [
                first_frame_prompt(each, frame.truth[each], "mask")
                for each in clip.object_ids
                if index == 0
            ]
            _copy_memories(exact, rounded["same memory"])
            (tracks,) = exact.step([(own, frame.image, prompts)])
            masks = {track.object_id: track.mask for track in tracks}
            for kind, tracker in rounded.items():
                (others,) = tracker.step([(sessions[kind], frame.image, prompts)])
                for track in others:
                    _note(agreement, kind, clip.category, masks[track.object_id], track.mask)
                    if kind == "free running" and index:
                        truth = frame.truth[track.object_id]
                        quality.setdefault("bfloat16", []).append(jaccard(track.mask, truth))
                        quality.setdefault("float32", []).append(
                            jaccard(masks[track.object_id], truth)
                        )
        own.close()
        for session in sessions.values():
            session.close()
        _print(agreement, quality)
    return 0


def _tracker(checkpoint: str, dtype: str) -> Tracker:
    options = TrackerOptions(max_objects=8, compute_dtype=dtype)  # type: ignore[arg-type]
    return Tracker.from_checkpoint(checkpoint, device="cpu", options=options)


def round_encoder(model: Sam2) -> None:
    """Compute the image encoder as a CUDA device does, the rest of the network in float32."""
    encode = model.encode_image
    encode_throughout(model)
    model.image_encoder.trunk.forget_constants()

    def encoded(image_B3SS: Tensor) -> ImageFeatures:
        return ImageFeatures(*(level.float() for level in encode(image_B3SS)))

    model.encode_image = encoded  # type: ignore[method-assign]


def _copy_memories(source: Tracker, target: Tracker) -> None:
    """Both trackers have one session with the same objects, so their slots correspond."""
    for slot in range(source.options.max_objects):
        target._bank.restore(slot, source._bank.copy(slot))


def _note(
    agreement: dict[tuple[str, str], list[float]],
    kind: str,
    category: str,
    mask: MaskArray,
    other: MaskArray,
) -> None:
    # Two empty masks agree trivially.
    if mask.any() or other.any():
        agreement.setdefault((kind, category), []).append(jaccard(mask, other))


def _print(agreement: dict[tuple[str, str], list[float]], quality: dict[str, list[float]]) -> None:
    for kind in KINDS:
        own = {category: values for (k, category), values in agreement.items() if k == kind}
        everything = np.concatenate(list(own.values()))
        by_category = ", ".join(f"{name} {np.mean(values):.4f}" for name, values in own.items())
        sys.stdout.write(
            f"{kind}: mean IoU {everything.mean():.4f}, first percentile "
            f"{np.percentile(everything, 1):.3f}, {len(everything)} masks ({by_category}); "
            f"{(everything < ANOTHER_MASK).sum()} below {ANOTHER_MASK}, the others "
            f"{everything[everything >= ANOTHER_MASK].mean():.4f}\n"
        )
    scores = ", ".join(f"{name} {np.mean(values):.4f}" for name, values in quality.items())
    sys.stdout.write(f"J against the truth: {scores}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
