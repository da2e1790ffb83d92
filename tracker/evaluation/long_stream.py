"""An endless stream: compares tracking and memory at its start and at its end.

A window of a rendered match is repeated forward and backward, so that motion is continuous. Objects
are prompted once, on the first frame; masks are scored over the first and the last frames of the
stream, and the process's memory is read at both ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from tracker.evaluation.clips import ClipFrame
from tracker.evaluation.measures import boundary_f, jaccard
from tracker.evaluation.prompts import PromptKind, first_frame_prompt
from tracker.evaluation.runner import EvaluatedTracker
from tracker.evaluation.synthetic import HEIGHT, WIDTH, Window, frames_of

# Of the tuning seeds: team-mates in the same shirt, always visible, two of which cross.
LOOPED = Window("look-alikes", 13_018, 120, 60, (1, 4))
SCORED_FRAMES = 500
WARM_FRAMES = 100  # before the memory is read for the first time


@dataclass(frozen=True, slots=True)
class LongStream:
    """J&F of every object over the first and the last ``scored`` frames; memory at both ends.

    ``first_frame``: the session's first frame number.
    """

    frames: int
    first_frame: int
    scored: int
    first: dict[int, float]
    last: dict[int, float]
    first_rss_bytes: int
    last_rss_bytes: int


def to_and_fro(frames: Sequence[ClipFrame]) -> Iterator[ClipFrame]:
    """The frames forward and backward, endlessly, without repeating either end.

    Raises ValueError for fewer than two.
    """
    if len(frames) < 2:
        raise ValueError(f"a loop needs at least 2 frames, got {len(frames)}")
    circle = [*frames, *frames[-2:0:-1]]
    while True:
        yield from circle


def follow_loop(
    tracker: EvaluatedTracker,
    frame_count: int,
    prompt: PromptKind = "mask",
    first_frame: int = 0,
    window: Window = LOOPED,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    scored: int = SCORED_FRAMES,
    on_frame: Callable[[int], None] | None = None,
) -> LongStream:
    """Track a window's objects for ``frame_count`` frames, numbered from ``first_frame``.

    Raises ValueError if the scored parts would overlap.
    """
    if frame_count < max(2 * scored, WARM_FRAMES):
        least = max(2 * scored, WARM_FRAMES)
        raise ValueError(f"a long stream has at least {least} frames, got {frame_count}")
    shown = list(frames_of(window, *size))
    qualities: dict[bool, dict[int, list[float]]] = {
        late: {object_id: [] for object_id in window.object_ids} for late in (False, True)
    }
    first_rss_bytes = 0
    session = tracker.open_session()
    session.frames_seen = first_frame
    try:
        for index, frame in enumerate(islice(to_and_fro(shown), frame_count)):
            prompts = [
                first_frame_prompt(object_id, frame.truth[object_id], prompt)
                for object_id in window.object_ids
                if index == 0
            ]
            (tracks,) = tracker.step([(session, frame.image, prompts)])
            late = index >= frame_count - scored
            if late or 0 < index <= scored:
                for track in tracks:
                    truth = frame.truth[track.object_id]
                    quality = (jaccard(track.mask, truth) + boundary_f(track.mask, truth)) / 2
                    qualities[late][track.object_id].append(quality)
            if index + 1 == WARM_FRAMES:
                first_rss_bytes = _resident_bytes()
            if on_frame is not None:
                on_frame(index)
    finally:
        session.close()
    first, last = (
        {object_id: float(np.mean(values)) for object_id, values in qualities[late].items()}
        for late in (False, True)
    )
    return LongStream(
        frame_count, first_frame, scored, first, last, first_rss_bytes, _resident_bytes()
    )


def table(found: LongStream, title: str) -> Table:
    """J&F by object and memory, at the start and at the end."""
    result = Table(title=title)
    result.add_column("", no_wrap=True)
    for heading in (*(f"object {object_id}" for object_id in found.first), "MiB"):
        result.add_column(heading, justify="right", no_wrap=True)
    for name, values, rss_bytes in (
        (f"first {found.scored} frames", found.first, found.first_rss_bytes),
        (f"last {found.scored} of {found.frames}", found.last, found.last_rss_bytes),
    ):
        shown = [f"{value:.3f}" for value in values.values()]
        result.add_row(name, *shown, f"{rss_bytes / 2**20:.0f}")
    return result


def as_json(found: LongStream) -> dict[str, Any]:
    """The table's values, unrounded."""
    return asdict(found)


def _resident_bytes() -> int:
    """Resident memory of this process (Linux: proc_pid_status, VmRSS; 0 elsewhere)."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except FileNotFoundError:
        return 0
    (size_kib,) = (line.split()[1] for line in lines if line.startswith("VmRSS:"))
    return int(size_kib) * 1024
