"""Makes a release of the commit that is checked out: ``make release VERSION=1.2.3``.

Refuses a tree with changes, a version that is no step up and a changelog without entries; runs the
checks; then writes the version and the changelog's section, keeps the wire contract's golden bytes,
builds wheel, SBOM and checksums in ``dist/``, commits and tags. Until then nothing has changed:
what goes wrong later is undone. Pushing is left to a person.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from datetime import date
from pathlib import Path

ROOT = Path(__file__).parents[1]
CHANGELOG = ROOT / "CHANGELOG.md"
WIRE = ROOT / "tests" / "streamer" / "wire"
GROUPS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
# Where the version stands: the file, and the text around it.
VERSIONED = {
    "pyproject.toml": r'(?m)^(version = ")[^"]+(")$',
    "README.md": r"(masklet-)[0-9.]+(-py3-none-any\.whl)",
    "deploy/kuberay/raycluster.yaml": r"(?m)^(.+ &image \S+:)[0-9.]+($)",
    "deploy/helm/masklet/Chart.yaml": r"(?m)^((?:appVersion|version): )\S+($)",
}


class RefusedError(Exception):
    """Why there is no release, and what to do."""


def main(arguments: Sequence[str]) -> int:
    """Release ``VERSION``, after the checks, targets of make."""
    if len(arguments) < 2:
        print("usage: make release VERSION=1.2.3", file=sys.stderr)
        return 2
    version, *checks = arguments
    try:
        notes = refuse_or_notes(version)
        make(*checks)
        if changes := git("status", "--porcelain"):
            raise RefusedError(f"the checks changed files, see git status:\n{changes}")
        release(version, notes)
    except RefusedError as refusal:
        print(f"no release: {refusal}", file=sys.stderr)
        return 1
    return 0


def refuse_or_notes(version: str) -> str:
    """The changelog's entries for this version. Raises ``RefusedError``."""
    if not re.fullmatch(r"(0|[1-9]\d*)(\.(0|[1-9]\d*)){2}", version):
        raise RefusedError(f"VERSION must be three numbers such as 1.2.3, got {version!r}")
    if changes := git("status", "--porcelain"):
        raise RefusedError(f"the tree has changes; commit or remove them:\n{changes}")
    if (branch := git("rev-parse", "--abbrev-ref", "HEAD")) != "main":
        raise RefusedError(f"releases are made on main, and this is {branch}")
    tags = [each for each in git("tag", "--list", "v*").split() if re.fullmatch(r"v[\d.]+", each)]
    last = max((numbers(each[1:]) for each in tags), default=())
    if numbers(version) <= last:
        raise RefusedError(f"{version} is not after v{'.'.join(map(str, last))}, the last release")
    text = CHANGELOG.read_text()
    if f"## [{version}]" in text:
        raise RefusedError(f"CHANGELOG.md has a section [{version}] already")
    found = re.search(r"^## \[Unreleased\]\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    if found is None:
        raise RefusedError("CHANGELOG.md has no section `## [Unreleased]`")
    notes = found[1].strip()
    groups = re.split(r"^### +(.+)$", notes, flags=re.MULTILINE)
    if not groups[1:] or groups[0].strip():
        raise RefusedError("CHANGELOG.md: [Unreleased] must hold entries under ### headings")
    for heading, entries in zip(groups[1::2], groups[2::2], strict=True):
        if heading not in GROUPS:
            known = ", ".join(sorted(GROUPS))
            raise RefusedError(f"CHANGELOG.md: ### {heading} is not one of {known}")
        if not entries.strip().startswith("- "):
            raise RefusedError(f"CHANGELOG.md: ### {heading} has no entry")
    return notes


def release(version: str, notes: str) -> None:
    """Write, build, commit and tag; what fails leaves everything as it was."""
    before = git("rev-parse", "HEAD")
    try:
        write(version)
        shutil.rmtree(ROOT / "dist", ignore_errors=True)
        make("wheel", "sbom")
        wheel = ROOT / "dist" / f"masklet-{version}-py3-none-any.whl"
        sbom = ROOT / "dist" / f"masklet-{version}.cdx.json"
        for made in (wheel, sbom):
            if not made.is_file():
                raise RefusedError(f"{made.relative_to(ROOT)} was not built")
        sums = [
            f"{hashlib.sha256(each.read_bytes()).hexdigest()}  {each.name}\n"
            for each in (wheel, sbom)
        ]
        (ROOT / "dist" / "SHA256SUMS").write_text("".join(sums))
        git("add", "--all")
        git("commit", "--quiet", "--message", f"Release {version}")
        # Verbatim: `#` begins a heading of the notes, not a comment.
        git("tag", "--annotate", f"v{version}", "--cleanup=verbatim", "--message", notes)
    except BaseException:
        git("reset", "--quiet", "--hard", before)
        git("clean", "--quiet", "-d", "--force", str(WIRE))
        raise
    print(f"\nmasklet {version} is committed, tagged and built; look at it, then:")
    print(f"  git push origin main v{version}")
    print("".join(f"  dist/{line.split()[1]}\n" for line in sums), end="")


def write(version: str) -> None:
    """The version, the changelog's section, the golden bytes that this release sends."""
    for name, pattern in VERSIONED.items():
        path = ROOT / name
        text, count = re.subn(pattern, rf"\g<1>{version}\g<2>", path.read_text())
        if not count:
            raise RefusedError(f"{name} has no version where release.py looks for it")
        path.write_text(text)
    heading = f"## [Unreleased]\n\n## [{version}] - {date.today().isoformat()}\n"
    CHANGELOG.write_text(CHANGELOG.read_text().replace("## [Unreleased]\n", heading, 1))
    shutil.rmtree(WIRE / "released")
    shutil.copytree(WIRE / "golden", WIRE / "released" / version)
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == version


def numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def make(*targets: str) -> None:
    """Run targets of the Makefile; their output is shown. Raises ``RefusedError``."""
    # A make inside make: the outer one's job server and flags are not ours.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    for target in targets:
        print(f"make {target}", flush=True)
        if subprocess.run(["make", target], cwd=ROOT, env=environment, check=False).returncode:
            raise RefusedError(f"make {target} failed")


def git(*arguments: str) -> str:
    """The output of git. Raises ``RefusedError`` with its words."""
    finished = subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if finished.returncode:
        raise RefusedError(f"git {arguments[0]}: {finished.stderr.strip()}")
    return finished.stdout.strip()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
