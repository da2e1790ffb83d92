"""Finished measurements on disk, one JSON file each, so that an interrupted run can continue."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Result = dict[str, Any]


class Results:
    """A folder of finished measurements."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)

    def get(self, name: str) -> Result | None:
        """A finished measurement, or None."""
        path = self._directory / f"{name}.json"
        return json.loads(path.read_text()) if path.is_file() else None

    def measure(self, name: str, measurement: Callable[[], Result]) -> Result:
        """The result under ``name``; runs ``measurement`` only if there is none on disk."""
        finished = self.get(name)
        if finished is None:
            finished = measurement()
            path = self._directory / f"{name}.json"
            partial = path.with_suffix(".partial")
            partial.write_text(json.dumps(finished, indent=1) + "\n")
            partial.rename(path)
        return finished
