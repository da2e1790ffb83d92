"""Ablation of the robust memory policy: every rule on and off.

Rows are ``sam2``, ``robust``, and ``robust`` with one rule changed: a rule that is on is switched
off, or its number set to the minimum ("without"); a rule that is off is switched on, or takes its
published value ("with"). Each clip of each row is a file; files of the same model are read instead
of run again, so that a long ablation can be interrupted at any time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracker.evaluation import report
from tracker.evaluation.clips import EvaluationClip
from tracker.evaluation.file_names import file_stem
from tracker.evaluation.prompts import PromptKind
from tracker.evaluation.runner import EvaluatedTracker, FrameObserver, evaluate_clip

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

LEAST = (0, 0.0, 1, 1.0)  # tried in this order
# Of rules that are off: DAM4SAM's anchors.
PUBLISHED = {"anchors": 3}


@dataclass(frozen=True, slots=True)
class AblationRow:
    """A row's name, and the keyword arguments of its ``TrackerOptions``."""

    name: str
    options: dict[str, Any]


@dataclass(frozen=True, slots=True)
class RowResult:
    """The result of one row on one clip; ``document`` is that of ``report.as_json``."""

    row: str
    category: str
    document: dict[str, Any]


MakeTracker = Callable[[dict[str, Any]], EvaluatedTracker]
RowObserver = Callable[[str, EvaluationClip, bool], None]
"""Called with each result's row and clip, and whether it was read from its file."""


def ablation_rows(techniques: DataclassInstance) -> list[AblationRow]:
    """All rows; ``techniques`` are the default options of the robust policy."""
    rows = [
        AblationRow("sam2", {"memory_policy": "sam2"}),
        AblationRow("robust", {"memory_policy": "robust", "robust": techniques}),
    ]
    rows += [
        AblationRow(name, {"memory_policy": "robust", "robust": changed})
        for name, changed in variants(techniques).items()
    ]
    return rows


def variants(techniques: DataclassInstance) -> dict[str, DataclassInstance]:
    """The options with one rule changed, by the row's name.

    A number that is already at its minimum takes its published value, if there is one.
    """
    result: dict[str, DataclassInstance] = {}
    for field in fields(techniques):
        value = getattr(techniques, field.name)
        if isinstance(value, bool):
            choices: tuple[float, ...] = (not value,)
        else:
            choices = tuple(each for each in LEAST if type(each) is type(value) and each < value)
        choices += (PUBLISHED.get(field.name, value),)
        for choice in choices:
            if choice == value:
                continue
            try:
                changed = replace(techniques, **{field.name: choice})
            except ValueError:
                continue  # below the option's minimum
            result[_name(field.name, value, choice)] = changed
            break
    return result


def _name(technique: str, value: float, choice: float) -> str:
    if isinstance(choice, bool):
        return f"with {technique}" if choice else f"without {technique}"
    return f"with {technique} {choice}" if choice > value else f"without {technique}"


def run_ablation(
    rows: Sequence[AblationRow],
    clips: Sequence[EvaluationClip],
    make_tracker: MakeTracker,
    directory: Path,
    prompt: PromptKind,
    label: str,
    *,
    identity: bool = True,
    on_row: RowObserver | None = None,
    on_frame: FrameObserver | None = None,
) -> list[RowResult]:
    """Run the missing results, row by row and clip by clip, and return all.

    ``label`` identifies the model, such as a checkpoint and its fingerprint; results with another
    label are run again.
    """
    directory.mkdir(parents=True, exist_ok=True)
    results = []
    for row in rows:
        tracker: EvaluatedTracker | None = None
        for clip in clips:
            made_of = {
                "label": label,
                "prompt": prompt,
                "frames": clip.frame_count,
                "objects": list(clip.object_ids),
                "options": repr(row.options),
            }
            path = directory / f"{file_stem(row.name, clip.category, clip.name)}.json"
            document = _finished(path, made_of)
            read = document is not None
            if document is None:
                tracker = tracker or make_tracker(row.options)
                score = evaluate_clip(tracker, clip, prompt, on_frame)
                document = {
                    "row": row.name,
                    "made_of": made_of,
                    **report.as_json([score], clip.category, label, prompt, identity=identity),
                }
                # Renamed into place, so that an interruption leaves no partial file.
                partial = path.with_suffix(".partial")
                partial.write_text(json.dumps(document, indent=1) + "\n")
                partial.replace(path)
            results.append(RowResult(row.name, clip.category, document))
            if on_row is not None:
                on_row(row.name, clip, read)
    return results


def _finished(path: Path, made_of: dict[str, Any]) -> dict[str, Any] | None:
    try:
        document: dict[str, Any] = json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return document if document.get("made_of") == made_of else None
