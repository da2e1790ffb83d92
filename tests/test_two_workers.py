"""Two workers: tests with servers are never side by side, and a worker that dies is a failure."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.timeout(600)
PASSES = "def test_passes():\n    pass\n"
DIES = """
import os

def test_before():
    pass

def test_dies():
    os._exit(0)

def test_after():
    pass
"""
DIES_IN_THE_END = """
import os

def pytest_sessionfinish(session):
    if os.environ.get("PYTEST_XDIST_WORKER") == "gw0":  # not the one that replaces it
        os._exit(0)
"""


def run(folder: Path, workers: int, files: dict[str, str]) -> subprocess.CompletedProcess[str]:
    (folder / "pytest.ini").write_text("[pytest]\naddopts = --import-mode=importlib\n")
    for name, text in files.items():
        path = folder / "tests" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    plugins = [word for name in ("xdist", "tests.two_workers") for word in ("-p", name)]
    # Without the name of the worker that runs this test: the inner one would take it for its own.
    outer = {key: text for key, text in os.environ.items() if not key.startswith("PYTEST_XDIST")}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-v", *plugins, f"-n{workers}", "tests"],
        cwd=folder,
        env={**outer, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_one_has_all_servers_and_what_kills_the_other_fails_alone(tmp_path: Path) -> None:
    live = [f"streamer/api/test_{name}.py" for name in "abcd"]
    ran = run(tmp_path, 2, {**dict.fromkeys(live, PASSES), "tracker/test_dies.py": DIES})
    passed = re.findall(r"\[(gw\d)\].* PASSED tests/(\S+)::(\w+)", ran.stdout)
    assert len({worker for worker, name, _ in passed if name in live}) == 1, ran.stdout
    assert sorted((name, test) for _, name, test in passed) == [
        *((name, "test_passes") for name in live),
        ("tracker/test_dies.py", "test_after"),
        ("tracker/test_dies.py", "test_before"),
    ]
    assert "crashed while running 'tests/tracker/test_dies.py::test_dies'" in ran.stdout
    assert ran.returncode == 1


def test_worker_that_dies_after_its_last_test_is_a_failure(tmp_path: Path) -> None:
    ran = run(tmp_path, 1, {"conftest.py": DIES_IN_THE_END, "test_a.py": PASSES})
    assert "1 failed, 1 passed" in ran.stdout, ran.stdout
    assert ran.returncode == 1
