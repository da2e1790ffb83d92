"""Lists of sequences that are read only when selected, since datasets have thousands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tracker.evaluation.clips import EvaluationClip


@dataclass(frozen=True, slots=True)
class Listed:
    """A sequence's name; ``read`` opens its files and returns the clip."""

    name: str
    category: str
    read: Callable[[], EvaluationClip]


def listed(clips: Sequence[EvaluationClip]) -> list[Listed]:
    """Wrap existing clips."""
    return [Listed(clip.name, clip.category, lambda clip=clip: clip) for clip in clips]  # type: ignore[misc]


def folder(path: Path, what: str) -> Path:
    """``path`` if it is a folder; otherwise raises FileNotFoundError with what was expected."""
    if not path.is_dir():
        around = path.parent if path.parent.is_dir() else path.parent.parent
        inside = sorted(each.name for each in around.iterdir())[:8] if around.is_dir() else []
        holds = ", ".join(inside) or "nothing"
        raise FileNotFoundError(f"{path}: expected a folder with {what}; {around} holds {holds}")
    return path


def longest(frames_by_object: dict[int, int], most: int) -> tuple[int, ...]:
    """The ids of the ``most`` objects with the most frames, in ascending order."""
    by_length = sorted(frames_by_object, key=lambda key: (-frames_by_object[key], key))
    return tuple(sorted(by_length[:most]))
