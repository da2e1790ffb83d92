"""``make release`` in a repository of its own: what it refuses, what it makes, what it undoes.

deploy/release.py, git and make are the real ones; the checks and builds of the Makefile are short.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
MAKEFILE = """\
SHELL := /bin/bash
version = $$(sed -n 's/^version = "\\(.*\\)"/\\1/p' pyproject.toml)
lint test audit:
\t@test ! -e .git/fail-$@
wheel:
\t@test ! -e .git/fail-wheel && mkdir -p dist; echo wheel > dist/masklet-$(version)-py3-none-any.whl
sbom:
\t@echo '{}' > dist/masklet-$(version).cdx.json
"""
CHANGELOG = """\
# Changelog

## [Unreleased]

### Added

- A thing.

### Fixed

- Another, at last.

## [0.1.0] - 2026-01-01

### Added

- The first.
"""
COPIED = (
    "deploy/release.py",
    "pyproject.toml",
    "README.md",
    "deploy/helm/masklet/Chart.yaml",
    "deploy/kuberay/raycluster.yaml",
)


@dataclass
class Project:
    """A repository with one commit on main, released as 0.1.0 before."""

    root: Path

    def git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=self.root, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def release(self, version: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "deploy/release.py", version, "lint", "test", "audit"],
            cwd=self.root,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def commit(self, name: str, text: str) -> None:
        (self.root / name).write_text(text)
        self.git("commit", "--quiet", "--all", "--message", "Change")

    def state(self) -> tuple[str, str, str]:
        return self.git("rev-parse", "HEAD"), self.git("status", "--porcelain"), self.git("tag")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    for name in [name for name in os.environ if name.startswith(("GIT_", "MAKE"))]:
        monkeypatch.delenv(name)  # of a hook or a make that runs these tests
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "a")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "a@example.org")
    for name in COPIED:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, tmp_path / name)
    wire = tmp_path / "tests" / "streamer" / "wire"
    for folder, text in (("golden", "02\n"), ("released/0.1.0", "01\n")):
        (wire / folder).mkdir(parents=True)
        (wire / folder / "event.hex").write_text(text)
    (tmp_path / "Makefile").write_text(MAKEFILE)
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    (tmp_path / ".gitignore").write_text("dist/\n")
    made = Project(tmp_path)
    made.git("init", "--quiet", "--initial-branch", "main")
    made.git("add", "--all")
    made.git("commit", "--quiet", "--message", "Begin")
    made.git("tag", "--annotate", "v0.1.0", "--message", "the first")
    return made


def test_a_release_is_written_built_committed_and_tagged(project: Project) -> None:
    code, said = project.release("0.2.0")
    assert code == 0, said
    assert "git push origin main v0.2.0" in said
    assert project.git("status", "--porcelain") == ""
    assert project.git("log", "-1", "--format=%s") == "Release 0.2.0"
    assert project.git("rev-list", "-1", "v0.2.0") == project.git("rev-parse", "HEAD")
    notes = project.git("tag", "--list", "v0.2.0", "--format=%(contents)")
    assert notes == "### Added\n\n- A thing.\n\n### Fixed\n\n- Another, at last."

    def text(name: str) -> str:
        return (project.root / name).read_text()

    assert re.search(
        r"## \[Unreleased\]\n\n## \[0\.2\.0\] - \d{4}-\d\d-\d\d\n\n### Added\n\n- A thing",
        text("CHANGELOG.md"),
    )
    assert 'version = "0.2.0"' in text("pyproject.toml")
    assert "masklet-0.2.0-py3-none-any.whl" in text("README.md")
    assert text("deploy/helm/masklet/Chart.yaml").count("ersion: 0.2.0") == 2
    assert "masklet-fleet:0.2.0\n" in text("deploy/kuberay/raycluster.yaml")
    released = project.root / "tests" / "streamer" / "wire" / "released"
    assert [each.name for each in released.iterdir()] == ["0.2.0"]
    assert text("tests/streamer/wire/released/0.2.0/event.hex") == "02\n"
    for line in text("dist/SHA256SUMS").splitlines():
        total, name = line.split()
        assert hashlib.sha256((project.root / "dist" / name).read_bytes()).hexdigest() == total


WRONG = [
    ("", None, "VERSION must be three numbers such as 1.2.3, got ''"),
    ("v0.2.0", None, "got 'v0.2.0'"),
    ("0.2", None, "got '0.2'"),
    ("0.2.0; rm -rf .", None, "VERSION must be"),
    ("0.1.0", None, "0.1.0 is not after v0.1.0, the last release"),
    ("0.0.9", None, "0.0.9 is not after v0.1.0"),
    ("0.2.0", "# Changelog\n", "no section `## [Unreleased]`"),
    ("0.2.0", "## [Unreleased]\n\n## [0.1.0]\n", "must hold entries under ### headings"),
    ("0.2.0", "## [Unreleased]\n\n- Loose.\n", "must hold entries under ### headings"),
    ("0.2.0", "## [Unreleased]\n\n### Add\n\n- A.\n", "### Add is not one of Added, Changed"),
    ("0.2.0", "## [Unreleased]\n\n### Added\n\n### Fixed\n\n- A.\n", "### Added has no entry"),
    ("0.2.0", f"{CHANGELOG}\n## [0.2.0]\n", "has a section [0.2.0] already"),
]


def test_a_wrong_version_or_changelog_is_refused(project: Project) -> None:
    for version, changelog, said in WRONG:
        if changelog is not None:
            project.commit("CHANGELOG.md", changelog)
        before = project.state()
        code, output = project.release(version)
        assert (code, project.state()) == (1, before)
        assert said in output


def test_changes_and_other_branches_are_refused(project: Project) -> None:
    (project.root / "stray.txt").write_text("?")
    code, said = project.release("0.2.0")
    assert code == 1
    assert "the tree has changes; commit or remove them:\n?? stray.txt" in said
    (project.root / "stray.txt").unlink()
    project.git("checkout", "--quiet", "-b", "side")
    code, said = project.release("0.2.0")
    assert code == 1
    assert "releases are made on main, and this is side" in said


def test_a_check_or_build_that_fails_leaves_everything_as_it_was(project: Project) -> None:
    before = project.state()
    for target in ("lint", "test", "audit", "wheel"):
        stop = project.root / ".git" / f"fail-{target}"
        stop.touch()
        code, said = project.release("0.2.0")
        assert (code, project.state()) == (1, before)
        assert f"no release: make {target} failed" in said
        stop.unlink()
    assert project.release("0.2.0")[0] == 0


def test_sbom_lists_every_locked_package_with_its_hashes(tmp_path: Path) -> None:
    """``make sbom``, which also validates it against CycloneDX' schema (ten times as long)."""
    file = tmp_path / "sbom.json"
    finished = subprocess.run(
        [sys.executable, "-m", "cyclonedx_py", "requirements", "deploy/requirements.lock",
         "--pyproject", "pyproject.toml", "--no-validate", "--output-file", str(file)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    bom = json.loads(file.read_text())
    assert bom["metadata"]["component"]["name"] == "masklet"
    locked = re.findall(
        r"^([a-z0-9.-]+)==(\S+)", (REPOSITORY / "deploy/requirements.lock").read_text(), re.M
    )
    assert sorted((each["name"], each["version"]) for each in bom["components"]) == sorted(locked)
    for each in bom["components"]:
        assert each["externalReferences"][0]["hashes"], each["name"]
