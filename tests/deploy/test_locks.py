"""The lists of pinned packages: all that pyproject.toml asks for, each with its hashes."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCKS = (
    "requirements.lock",
    "requirements-dev.lock",
    "requirements-apart.lock",
    "requirements-helm.lock",
    "requirements-fleet.lock",
)


def pinned(name: str) -> dict[str, str]:
    """The packages of a list that this machine installs, with their versions."""
    entries = re.split(r"\n(?=\S)", (ROOT / "deploy" / name).read_text())
    versions: dict[str, str] = {}
    for entry in entries:
        line, *hashes = entry.replace("\\\n", "\n").splitlines()
        requirement = Requirement(line)
        assert re.fullmatch(r"==[^*,]+", str(requirement.specifier)), line
        assert hashes, f"{line} has no hash"
        assert all(re.fullmatch(r" +--hash=sha256:[0-9a-f]{64} *", each) for each in hashes)
        if requirement.marker is None or requirement.marker.evaluate():
            versions[canonicalize_name(requirement.name)] = str(requirement.specifier)[2:]
    return versions


def wanted(extra: str | None) -> list[Requirement]:
    """What pyproject.toml asks for, extras that an extra names included."""
    texts = PROJECT["dependencies"] if extra is None else PROJECT["optional-dependencies"][extra]
    found: list[Requirement] = []
    for requirement in map(Requirement, texts):
        if requirement.name == PROJECT["name"]:
            for inner in requirement.extras:
                found += wanted(inner)
        else:
            found.append(requirement)
    return found


@pytest.mark.parametrize("name", LOCKS)
def test_every_package_is_pinned_with_hashes(name: str) -> None:
    assert pinned(name)


@pytest.mark.parametrize(
    ("name", "extra"),
    [
        ("requirements.lock", None),
        ("requirements-dev.lock", None),
        ("requirements-dev.lock", "dev"),
        ("requirements-fleet.lock", None),
        ("requirements-fleet.lock", "fleet"),
    ],
)
def test_what_the_project_asks_for_is_pinned(name: str, extra: str | None) -> None:
    versions = pinned(name)
    for requirement in wanted(extra):
        version = versions.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement} is missing: run `make lock`"
        assert requirement.specifier.contains(version), f"{requirement} is not {version}: make lock"


def test_both_lists_agree() -> None:
    development = pinned("requirements-dev.lock")
    for package, version in pinned("requirements.lock").items():
        assert development[package] == version


def test_libraries_whose_private_names_are_patched_are_pinned_exactly() -> None:
    exact = {each.name for each in wanted(None) if str(each.specifier).startswith("==")}
    assert {"aiortc", "aioice", "av", "uvicorn"} <= exact
