"""Results on disk, one file a measurement: what was interrupted goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Cell = dict[str, Any]


class Cells:
    """A folder of finished measurements."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)

    def get(self, name: str) -> Cell | None:
        """A finished measurement, or None."""
        path = self._directory / f"{name}.json"
        return json.loads(path.read_text()) if path.is_file() else None

    def measure(self, name: str, measurement: Callable[[], Cell]) -> Cell:
        """The measurement's result; taken only if there is none yet."""
        finished = self.get(name)
        if finished is None:
            finished = measurement()
            path = self._directory / f"{name}.json"
            partial = path.with_suffix(".partial")
            partial.write_text(json.dumps(finished, indent=1) + "\n")
            partial.rename(path)
        return finished
