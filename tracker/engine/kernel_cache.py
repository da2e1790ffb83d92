"""Keeps compiled kernels of Triton and Inductor on disk for the next start.

CUDA graphs hold addresses of one process: they are captured anew at each start, in a fraction of a
second each.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

_TRITON, _INDUCTOR = "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR"


def keep_kernels(directory: str | os.PathLike[str], most_bytes: int) -> None:
    """Make this process keep its kernels in ``directory``; call it before anything is compiled.

    A folder named in the environment takes precedence. Bound: ``most_bytes`` when a process starts;
    the oldest entries go. Raises OSError if the folder cannot be written.
    """
    root = Path(directory)
    for name, folder in ((_TRITON, root / "triton"), (_INDUCTOR, root / "inductor")):
        folder.mkdir(parents=True, exist_ok=True)
        os.environ.setdefault(name, str(folder))
    entries = [
        (_written_ns(entry), _bytes_of(entry), entry)
        for folder in root.iterdir()
        if folder.is_dir()
        for entry in folder.iterdir()
    ]
    total = sum(size for _, size, _ in entries)
    for _, size, entry in sorted(entries):
        if total <= most_bytes:
            return
        with suppress(FileNotFoundError):  # removed by another process that is starting
            if entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink()
        total -= size


def _bytes_of(entry: Path) -> int:
    files = entry.rglob("*") if entry.is_dir() else (entry,)
    total = 0
    for file in files:
        with suppress(FileNotFoundError):
            total += file.stat().st_size if file.is_file() else 0
    return total


def _written_ns(entry: Path) -> int:
    with suppress(FileNotFoundError):
        return entry.stat().st_mtime_ns
    return 0
