"""The clips selected by the arguments."""

from __future__ import annotations

from argparse import Namespace
from collections import Counter
from dataclasses import replace

from tracker.evaluation.clips import EvaluationClip
from tracker.evaluation.davis import davis_clips
from tracker.evaluation.readers.box_folders import box_folder_sequences
from tracker.evaluation.readers.listing import Listed, listed, longest
from tracker.evaluation.readers.mask_folders import mask_folder_sequences
from tracker.evaluation.readers.mot import mot_sequences
from tracker.evaluation.readers.photographs import photograph_clips
from tracker.evaluation.readers.sa_v import sa_v_sequences
from tracker.evaluation.stress import stress_clips
from tracker.evaluation.synthetic import synthetic_clips

NAMES_SHOWN = 40


def clips_of(options: Namespace) -> list[EvaluationClip]:
    """Prepare the suites and select their clips.

    Raises OSError or ValueError, with the file and what was expected, and ValueError for an unknown
    category or clip.
    """
    sequences = [each for suite in options.suite.split(",") for each in _sequences(suite, options)]
    categories = sorted({each.category for each in sequences})
    if options.category is not None and options.category not in categories:
        raise ValueError(f"no category {options.category!r}; there are: {', '.join(categories)}")
    names = {each.name for each in sequences}
    wanted = _wanted(options)
    for name in wanted:
        if name not in names:
            raise ValueError(f"no clip {name!r}; there are: {_some(sorted(names))}")
    chosen: list[Listed] = []
    for each in sequences:
        fellows = sum(other.category == each.category for other in chosen)
        if options.category not in (None, each.category):
            continue
        if wanted and each.name not in wanted:
            continue
        if options.limit is None or fellows < options.limit:
            chosen.append(each)
    return [_limited(each.read(), options.max_objects) for each in chosen]


def _limited(clip: EvaluationClip, most: int) -> EvaluationClip:
    """The clip with those objects to track that are visible on the most frames."""
    if len(clip.object_ids) <= most:
        return clip
    visible: Counter[int] = Counter(dict.fromkeys(clip.object_ids, 0))
    for frame in clip.open():
        visible.update(key for key in clip.object_ids if frame.shows(key))
    return replace(clip, object_ids=longest(visible, most))


def _wanted(options: Namespace) -> list[str]:
    """The names of the requested clips; empty: all."""
    if options.clips is None:
        return list(options.clip)
    if not options.clips.is_file():
        raise FileNotFoundError(f"{options.clips}: expected a file with one clip name per line")
    lines = options.clips.read_text().splitlines()
    listed_there = [line.split()[0] for line in lines if line.strip()]
    if not listed_there:
        raise ValueError(f"{options.clips}: empty; expected one clip name per line")
    return [*options.clip, *listed_there]


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:NAMES_SHOWN])
    more = len(names) - NAMES_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def _sequences(suite: str, options: Namespace) -> list[Listed]:
    most = options.max_objects
    data = (options.data or [None])[0]
    match suite:
        case "synthetic":
            return listed(synthetic_clips(split=options.split))
        case "stress":
            return listed(stress_clips(options.split, options.size))
        case "photographs":
            return photograph_clips(options.data, most, held_out=options.held_out)
        case "davis" if not (data / "JPEGImages").is_dir():
            return listed(davis_clips(data))
        case "davis" | "mose" | "lvos" | "youtube-vos":
            return mask_folder_sequences(data, suite, most)
        case "sa-v":
            return sa_v_sequences(data, most)
        case "mot":
            return mot_sequences(data, most, from_detections=options.from_detections)
        case _:
            return box_folder_sequences(data, suite)
