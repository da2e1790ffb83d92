"""Whether it is right: the tests marked `gpu`, and nano's masks against the processor's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from benchmarks.device.record import Record
from benchmarks.device.scale import Scale
from tracker import Prompt, Track, Tracker, TrackerOptions
from tracker.scenes import DEMO_SEED, Match

IOU_GOAL = 0.995
_FRAMES, _PLAYERS = 24, 4
_WIDTH, _HEIGHT = 640, 360


def run(scale: Scale, record: Record) -> None:
    """Check what is not recorded yet."""
    for policy in ("robust", "sam2"):
        if not record.has(f"nano {policy}"):
            record.add(f"nano {policy}", **agreement(scale, policy))
    if not record.has("tests"):
        record.add("tests", **_tests(scale))


def agreement(scale: Scale, policy: str) -> dict[str, float | int]:
    """IoU of nano's masks with those of the processor in float32, over a rendered match."""
    frames = _FRAMES if not scale.rehearsal else 2
    match = Match(DEMO_SEED, _WIDTH, _HEIGHT, 25)
    pictures = [match.render(index) for index in range(frames)]
    prompts = [
        Prompt(number, box_xyxy=pictures[0].boxes[number])
        for number in sorted(pictures[0].boxes)[:_PLAYERS]
    ]
    images = [each.image for each in pictures]
    ours = _tracked(images, prompts, scale.device, "auto", policy)
    theirs = _tracked(images, prompts, "cpu", "float32", policy)
    ious = [
        _iou(own.mask, other.mask)
        for tracks, others in zip(ours, theirs, strict=True)
        for own, other in zip(tracks, others, strict=True)
    ]
    return {
        "masks": len(ious),
        "mean_iou": round(float(np.mean(ious)), 5),
        "least_iou": round(min(ious), 5),
    }


def _tracked(
    images: list[np.ndarray], prompts: list[Prompt], device: str, dtype: str, policy: str
) -> list[list[Track]]:
    options = TrackerOptions(
        max_objects=_PLAYERS,
        compute_dtype=dtype,  # type: ignore[arg-type]
        memory_policy=policy,  # type: ignore[arg-type]
    )
    tracker = Tracker.from_checkpoint("nano", device=device, options=options)
    if device != "cpu":
        tracker.warm_up()
    session = tracker.open_session()
    return [
        tracker.step([(session, image, prompts if index == 0 else [])])[0]
        for index, image in enumerate(images)
    ]


def _iou(ours: np.ndarray, theirs: np.ndarray) -> float:
    union = np.count_nonzero(ours | theirs)
    return 1.0 if union == 0 else float(np.count_nonzero(ours & theirs) / union)


def _tests(scale: Scale) -> dict[str, object]:
    """The counts of pytest, and the names of what failed."""
    files = ["tests/tracker/engine/test_graphs.py"]
    if not scale.rehearsal:  # only these: others import what does not travel
        every = sorted(Path("tests").rglob("test_*.py"))
        files = [str(file) for file in every if "@pytest.mark.gpu" in file.read_text()]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "gpu"]
    command += ["-W", "default", "--timeout", "80", "-rf", *files]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = finished.stdout.strip().splitlines()
    return {
        "rc": finished.returncode,
        "summary": lines[-1] if lines else finished.stderr[-300:],
        "failed": [line for line in lines if line.startswith(("FAILED", "ERROR"))][:20],
        "device_count": torch.cuda.device_count(),
    }
