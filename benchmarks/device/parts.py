"""The parts in order, each with a time limit, and how one is run in this process."""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass
from pathlib import Path

from benchmarks.device.record import Record
from benchmarks.device.scale import Scale


@dataclass(frozen=True, slots=True)
class Part:
    """``module.function`` of this package, with at most ``limit_s``.

    ``alongside``: it runs beside the part after it, and is waited for with that.
    """

    name: str
    module: str
    limit_s: float
    function: str = "run"
    alongside: bool = False


PARTS = (
    Part("machine", "machine", 15),
    Part("compile", "rivals", 100, "compile_ahead", alongside=True),
    Part("checks", "checks", 75),
    Part("kernels", "attention_kernels", 35),
    Part("calls", "captured_calls", 25),
    Part("steps", "steps", 95),
    Part("profile", "profile_steps", 20),
    Part("rivals", "rivals", 55),
    Part("switches", "switches", 45),
    Part("daemon", "daemon", 70),
    Part("training", "training_speed", 30),
)
# Of a visit of 8 minutes, less the unpacking.
BUDGET_S = 465.0


def named(name: str) -> Part:
    """The part of this name. Raises ValueError."""
    for part in PARTS:
        if part.name == name:
            return part
    raise ValueError(f"no part {name!r}; there are {', '.join(part.name for part in PARTS)}")


def file_of(out: Path, part: Part) -> Path:
    """Where the results of a part are."""
    return out / f"{part.name}.jsonl"


def run_here(part: Part, scale: Scale, out: Path) -> None:
    """Run a part in this process; what it measured before is kept.

    What is compiled is kept for the parts after it.
    """
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(out / "cache" / "inductor"))
    os.environ.setdefault("TRITON_CACHE_DIR", str(out / "cache" / "triton"))
    module = importlib.import_module(f"benchmarks.device.{part.module}")
    getattr(module, part.function)(scale, Record(file_of(out, part)))
