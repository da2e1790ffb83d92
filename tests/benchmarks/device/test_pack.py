"""The archive for a bare machine: what it is made of, and what making it needs."""

from __future__ import annotations

import shutil
import sys
from importlib import metadata
from pathlib import Path

import pytest

from benchmarks.device import pack


def test_masklet_is_found_by_name_beside_its_code(tmp_path: Path) -> None:
    pack.name_masklet(tmp_path)
    (found,) = metadata.distributions(name="masklet", path=[str(tmp_path)])
    assert found.version == metadata.version("masklet")


def test_without_uv_the_reason_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "argv", ["pack", "--out", str(tmp_path / "kit.tar.xz")])
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(SystemExit, match="2"):
        pack.main()
    assert "uv is not on PATH: `make device-kit` installs it" in capsys.readouterr().err


def test_what_the_tests_are_run_with_travels() -> None:
    packed = {entry.split("==")[0] for entry in pack.pinned_packages()}
    assert {
        "pytest",
        "pytest-asyncio",
        "pytest-timeout",
        "hypothesis",
        "sortedcontainers",
    } <= packed
    assert "pytest-xdist" not in packed  # its execnet does not travel, and it loads with pytest
