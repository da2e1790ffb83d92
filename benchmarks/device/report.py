"""Everything that a visit has measured, as markdown: the goals first, then each part's results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.device.goals import table
from benchmarks.device.parts import PARTS, file_of
from benchmarks.device.record import read


def report(out: Path) -> str:
    """The report on the results in a folder, complete or not."""
    results = {part.name: read(file_of(out, part)) for part in PARTS}
    progress = read(out / "progress.jsonl")
    lines = ["# On this device", "", table(results)]
    for part in PARTS:
        state = progress.get(part.name)
        said = "not run" if state is None else _state(state)
        if failed := sum("failed" in result for result in results[part.name].values()):
            said += f", {failed} of its results failed"
        lines += [f"## {part.name}: {said}", ""]
        for key, result in results[part.name].items():
            values = {name: value for name, value in result.items() if name != "key"}
            lines.append(f"- **{key}**: {_flat(values)}")
        lines.append("")
    return "\n".join(lines)


def write_report(out: Path) -> str:
    """Write it into the folder, and return it."""
    text = report(out)
    (out / "report.md").write_text(text)
    return text


def _state(state: dict[str, Any]) -> str:
    if "why" in state:
        return str(state["why"])
    ended = "complete" if state["rc"] == 0 else f"failed ({state['rc']}), see its log"
    return f"{ended}, {state['seconds']:g} s"


def _flat(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_flat(own)}" for name, own in value.items())
    if isinstance(value, list):
        return "; ".join(map(_flat, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
