"""``python -m tracker.evaluation``: score a checkpoint on a suite."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import Progress

from tracker import CheckpointError, Tracker, TrackerOptions
from tracker.evaluation import report
from tracker.evaluation.clips import ClipFrame, EvaluationClip
from tracker.evaluation.davis import davis_clips
from tracker.evaluation.overlay import OverlayWriter
from tracker.evaluation.runner import evaluate_suite
from tracker.evaluation.synthetic import synthetic_clips
from tracker.types import MaskArray


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the suite asked for; returns the exit code."""
    options = _parse(arguments)
    console = Console()
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        clips = _clips(options)
        tracker = Tracker.from_checkpoint(
            options.checkpoint, device=options.device, options=TrackerOptions(max_objects=16)
        )
    except (CheckpointError, OSError, ValueError) as error:
        console.print(f"[red]{error}[/red]", highlight=False)
        return 2
    overlay = OverlayWriter(options.overlay) if options.overlay else None
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("", total=sum(clip.frame_count for clip in clips))

        def on_frame(
            clip: EvaluationClip, index: int, frame: ClipFrame, masks: dict[int, MaskArray]
        ) -> None:
            progress.update(task, advance=1, description=f"{clip.category} {clip.name}")
            if overlay is not None:
                overlay(clip, index, frame, masks)

        scores = evaluate_suite(tracker, clips, options.prompt, on_frame)
    title = f"{options.checkpoint} on {options.suite}, first-frame {options.prompt}"
    console.print(report.table(scores, title))
    if options.json:
        content = report.as_json(scores, options.suite, options.checkpoint, options.prompt)
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(content, indent=1) + "\n")
        console.print(f"written: {options.json}", highlight=False)
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tracker.evaluation", description=__doc__)
    parser.add_argument("--checkpoint", default="nano", help="name of a model, or a file")
    parser.add_argument("--suite", choices=("synthetic", "davis"), default="synthetic")
    parser.add_argument("--data", type=Path, help="davis: the tar file, or the folder it is in")
    parser.add_argument("--prompt", choices=("mask", "box", "point"), default="mask")
    parser.add_argument("--category", help="synthetic: only the clips of this category")
    parser.add_argument("--limit", type=int, help="at most so many clips (of each category)")
    parser.add_argument("--json", type=Path, help="write the scores to this file")
    parser.add_argument("--overlay", type=Path, help="write pictures into this folder")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (default: torch's)")
    options = parser.parse_args(arguments)
    if options.suite == "davis" and options.data is None:
        parser.error("--suite davis needs --data PATH")
    return options


def _clips(options: argparse.Namespace) -> list[EvaluationClip]:
    clips = davis_clips(options.data) if options.suite == "davis" else synthetic_clips()
    categories = sorted({clip.category for clip in clips})
    if options.category is not None and options.category not in categories:
        raise ValueError(f"no category {options.category!r}; there are: {', '.join(categories)}")
    chosen: list[EvaluationClip] = []
    for clip in clips:
        fellows = sum(other.category == clip.category for other in chosen)
        wanted = options.category in (None, clip.category)
        if wanted and (options.limit is None or fellows < options.limit):
            chosen.append(clip)
    return chosen


if __name__ == "__main__":
    sys.exit(main())
