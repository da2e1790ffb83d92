"""The results of one part: a file of JSON lines, each on disk before the next is measured."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from benchmarks.results import Result


class Record:
    """Results by key, of this run and of earlier ones that were interrupted."""

    def __init__(self, path: Path) -> None:
        """A last line that was cut by a kill is dropped."""
        self._path = path
        self.results = read(path)
        if path.is_file():
            whole = "".join(json.dumps(each) + "\n" for each in self.results.values())
            path.write_text(whole)

    def has(self, key: str) -> bool:
        """Whether this was measured already."""
        return key in self.results

    def add(self, key: str, **values: Any) -> None:
        """Write a result, and print it for whoever watches."""
        self.results[key] = {"key": key, **values}
        line = json.dumps(self.results[key])
        with self._path.open("a") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())
        print(line, flush=True)


def read(path: Path) -> dict[str, Result]:
    """The results in a file by key, newest first measured last; none if it is missing."""
    found: dict[str, Result] = {}
    for line in path.read_text().splitlines() if path.is_file() else ():
        try:
            result = json.loads(line)
            found[result["key"]] = result
        except (ValueError, KeyError, TypeError):
            continue  # cut by a kill: it is measured again
    return found
