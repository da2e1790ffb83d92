"""A dataset's sequences before they are opened: choosing among thousands reads none of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tracker.evaluation.clips import EvaluationClip


@dataclass(frozen=True, slots=True)
class Listed:
    """A sequence by name; ``read`` looks at its files and makes the clip."""

    name: str
    category: str
    read: Callable[[], EvaluationClip]


def listed(clips: Sequence[EvaluationClip]) -> list[Listed]:
    """Clips that are there already."""
    return [Listed(clip.name, clip.category, lambda clip=clip: clip) for clip in clips]  # type: ignore[misc]


def folder(path: Path, what: str) -> Path:
    """``path`` if it is a folder; otherwise FileNotFoundError says what was expected there."""
    if not path.is_dir():
        around = path.parent if path.parent.is_dir() else path.parent.parent
        inside = sorted(each.name for each in around.iterdir())[:8] if around.is_dir() else []
        holds = ", ".join(inside) or "nothing"
        raise FileNotFoundError(f"{path}: expected a folder with {what}; {around} holds {holds}")
    return path


def longest(frames_by_object: dict[int, int], most: int) -> tuple[int, ...]:
    """The ids of the ``most`` objects that are on most frames, in ascending order."""
    by_length = sorted(frames_by_object, key=lambda key: (-frames_by_object[key], key))
    return tuple(sorted(by_length[:most]))
