"""Keeps what was measured about this processor in a small file, for the next start.

A file that is missing, damaged or cannot be written only costs the measurement.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from tracker.config import ModelConfig
from tracker.engine import openvino_parts
from tracker.engine.path_choice import ATTENTION, LINEAR, PathChoice
from tracker.model.cpu_paths import AttentionPath, CpuPaths

_log = logging.getLogger(__name__)

# Bound on the choices in the file: of models, sizes and versions. The oldest goes.
_MOST = 32
# Changes when the candidates do.
_VERSION = 6
# Settings that change which instructions the libraries use.
_LIMITS = ("ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS", "ATEN_CPU_CAPABILITY")


class KeptChoices:
    """The file ``paths.json`` in a folder of caches."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._path = Path(folder) / "paths.json"

    def find(self, config: ModelConfig) -> PathChoice | None:
        """What was measured for this processor and model."""
        try:
            kept = self._read()[_key(config)]
            paths = kept["paths"]
            narrow, wide = AttentionPath(*paths["narrow"]), AttentionPath(*paths["wide"])
            openvino = None if kept["openvino"] is None else tuple(kept["openvino"])
            choice = PathChoice(
                CpuPaths(paths["linear"], narrow, wide), kept["milliseconds"], openvino
            )
            choice.reasons()  # the times are there, and are numbers
        except (KeyError, TypeError, ValueError, AttributeError):
            return None
        is_known = paths["linear"] in LINEAR and narrow in ATTENTION and wide in ATTENTION
        return choice if is_known else None

    def keep(self, config: ModelConfig, choice: PathChoice) -> None:
        """Write the file anew with this choice as its newest."""
        kept = self._read()
        key = _key(config)
        kept.pop(key, None)
        kept[key] = asdict(choice)
        newest = dict(list(kept.items())[-_MOST:])
        new = self._path.with_name(f"paths.{os.getpid()}.new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            new.write_text(json.dumps(newest, indent=1) + "\n")
            new.replace(self._path)
        except OSError as error:
            _log.info("measured paths are not kept: %s: %s", self._path, error.strerror)

    def _read(self) -> dict[str, Any]:
        try:
            kept = json.loads(self._path.read_bytes())
        except (OSError, ValueError, RecursionError):
            return {}
        return kept if isinstance(kept, dict) else {}


def _key(config: ModelConfig) -> str:
    """Names the machine, the libraries and the shapes; one thread is measured, whatever is used."""
    shape = (config.grid_size, config.hidden_dim, config.memory_dim, config.num_maskmem)
    parts = (
        _VERSION,
        _processor(),
        torch.backends.cpu.get_cpu_capability(),
        *(os.environ.get(name, "") for name in _LIMITS),
        f"torch {torch.__version__}",
        f"openvino {openvino_parts.version()}",
        config.name,
        *shape,
        config.memory_attention_feed_forward,
    )
    return " ".join(map(str, parts))


def _processor() -> str:
    """A hash of the processor's name and features: a virtual machine may wake on another host."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    told = sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))})
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:16]
