"""A finding of ``masklet doctor``."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """Fine, worth knowing, or missing."""

    OK = "ok"
    NOTE = "note"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; ``advice`` is the next step."""

    level: Level
    subject: str
    text: str
    advice: str = ""
