"""Where files are: few names at the top of a package, a docstring in each, tests beside them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = sorted(
    init.parent.relative_to(ROOT)
    for name in ("streamer", "tracker")
    for init in (ROOT / name).rglob("__init__.py")
)
# Tests of the whole tracker: against an independent implementation, and on a pretended device.
ACROSS = {Path("tracker/agreement"), Path("tracker/pretended")}


@pytest.mark.parametrize("package", PACKAGES, ids=str)
def test_package_states_what_it_holds(package: Path) -> None:
    docstring = ast.get_docstring(ast.parse((ROOT / package / "__init__.py").read_text()))
    assert docstring
    assert docstring.splitlines()[0].endswith(".")


def test_streamer_has_three_files_and_at_most_15_packages_at_its_top() -> None:
    files = {path.name for path in (ROOT / "streamer").glob("*.py")}
    assert files == {"__init__.py", "app.py", "errors.py", "types.py"}
    folders = {path.name for path in (ROOT / "streamer").iterdir() if path.is_dir()}
    assert len(folders - {"__pycache__"}) <= 15


def test_folders_of_tests_mirror_the_packages() -> None:
    mirrored = {
        path.parent.relative_to(ROOT / "tests")
        for name in ("streamer", "tracker")
        for path in (ROOT / "tests" / name).rglob("test_*.py")
    }
    web = Path("streamer/web")  # of pages and scripts, no Python
    assert mirrored - ACROSS - {web} <= set(PACKAGES)
