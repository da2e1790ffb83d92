"""What a machine must have of its own to be measured: checked before any of it is imported.

    python -m benchmarks.device.needs 3.12

is for packages that were installed for Python 3.12. What is wrong ends it with a sentence, code 1.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import metadata

# Distributions with any of the names.
NEEDED = (
    ("torch",),
    ("torchvision",),
    ("numpy",),
    ("opencv-python-headless", "opencv-python", "opencv-contrib-python"),
    ("matplotlib",),
)
LEAST_TORCH = (2, 11)


def why_not(
    built_for: str, python: Sequence[int], version_of: Callable[[str], str] = metadata.version
) -> str | None:
    """What is wrong with this machine and what to do, None if nothing is."""
    here = f"{python[0]}.{python[1]}"
    if here != built_for:
        return (
            f"these packages are for Python {built_for}, this is {here}: set PYTHON to another, "
            f"or pack them with `python -m benchmarks.device.pack --python {here}`"
        )
    versions = {names[0]: _first(names, version_of) for names in NEEDED}
    if missing := [name for name, version in versions.items() if version is None]:
        return f"missing here: {', '.join(missing)}; run `pip install {' '.join(missing)}`"
    torch = versions["torch"] or ""
    if tuple(int(part) for part in torch.split(".")[:2]) < LEAST_TORCH:
        return f"torch {torch} is too old: {'.'.join(map(str, LEAST_TORCH))} is the least"
    return None


def _first(names: Sequence[str], version_of: Callable[[str], str]) -> str | None:
    for name in names:
        try:
            return version_of(name)
        except metadata.PackageNotFoundError:
            continue
    return None


if __name__ == "__main__":
    if (reason := why_not(sys.argv[1], sys.version_info[:2])) is not None:
        sys.exit(f"device-kit: {reason}")
