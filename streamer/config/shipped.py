"""The folder of the shipped configuration files, and their groups."""

from __future__ import annotations

from pathlib import Path


def configs_directory() -> Path:
    """The shipped configs: inside the package when installed, beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def config_groups() -> dict[str, list[str]]:
    """The groups (``model``, ``sink``, …) and the options of each."""
    return {
        folder.name: sorted(file.stem for file in folder.glob("*.yaml"))
        for folder in sorted(configs_directory().iterdir())
        if folder.is_dir() and any(folder.glob("*.yaml"))
    }
