"""What a check of ``masklet doctor`` says."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How a finding reads: fine, worth knowing, or something that will not work."""

    OK = "ok"
    NOTE = "note"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; ``advice`` says what to do about it."""

    level: Level
    subject: str
    text: str
    advice: str = ""
