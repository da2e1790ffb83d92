"""The wheel: complete, and working where there is no checkout."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.masklet_process import Masklet

REPOSITORY = Path(__file__).parents[2]
SCENE = "synthetic://match?width=320&height=180&rate_hz=10&duration_s=2"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that nothing is written into the checkout."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    for name in ("tracker", "streamer", "configs", "checkpoints"):
        shutil.copytree(
            REPOSITORY / name, source / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    built = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(built)]
    finished = subprocess.run(
        command, cwd=source, capture_output=True, text=True, timeout=120, check=False
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    (path,) = built.glob("masklet-*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Masklet:
    """The wheel in a folder of its own; torch and the rest come from the environment."""
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index",
         "--target", str(folder / "site"), str(wheel)],
        check=True,
        timeout=120,
    )  # fmt: skip
    away = folder / "elsewhere"
    away.mkdir(mode=0o700)
    script = folder / "site" / "bin" / "masklet"
    environment = {"PYTHONPATH": str(folder / "site"), "XDG_RUNTIME_DIR": str(away)}
    return Masklet(away, (sys.executable, str(script)), environment)


def test_wheel_holds_every_module_config_and_the_model(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    for package in ("tracker", "streamer"):
        for path in (REPOSITORY / package).rglob("*.py"):
            assert str(path.relative_to(REPOSITORY)) in packed
        assert f"{package}/py.typed" in packed
    for path in (REPOSITORY / "configs").rglob("*.yaml"):
        assert f"streamer/configs/{path.relative_to(REPOSITORY / 'configs')}" in packed
    assert "tracker/checkpoints/nano.safetensors" in packed
    assert "tracker/checkpoints/nano.calibration.json" in packed
    assert "tracker/checkpoints/README.md" in packed
    assert any(name.endswith("licenses/LICENSE") for name in packed)
    assert not any(name.startswith("tests") for name in packed)


def test_installed_wheel_knows_its_version_and_finds_what_it_ships(installed: Masklet) -> None:
    assert installed("version").stdout == f"masklet {importlib.metadata.version('masklet')}\n"
    said = installed("doctor", "zeromq.endpoint=tcp://127.0.0.1:*", "metrics.port=0").stdout
    site = installed.folder.parent / "site"
    assert f"{site}/tracker/checkpoints/nano.safetensors" in said


def test_installed_wheel_tracks_a_stream_outside_of_the_checkout(installed: Masklet) -> None:
    arguments = (
        "tracking=few",
        "streams.match.loop=true",
        "streams.match.objects=[{id:1,box:[20,40,90,150]}]",
        *("--stream", f"match={SCENE}"),
    )
    with installed.daemon(*arguments) as daemon:
        installed.answers(daemon)
        watched = installed("watch", daemon.endpoint, "--json", "--count", "5")
        assert watched.returncode == 0, watched.stderr
        lines = [json.loads(line) for line in watched.stdout.splitlines()]
        frames = [line for line in lines if line["topic"] == "v1/boxes/match/"]
        assert [entry["id"] for frame in frames for entry in frame["objects"]] == [1] * 5
        assert installed("stop", "--control", daemon.control).returncode == 0
        code, log = daemon.ended()
    assert code == 0, log


def test_everything_that_is_imported_is_a_declared_dependency() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    declared = {
        _normal(re.split(r"[><=\[ ;]", each)[0])
        for each in [
            *project["dependencies"],
            *(each for name, extra in extras.items() if name != "dev" for each in extra),
        ]
    }
    # What others are made of, and fix the versions of: Hydra of OmegaConf, FastAPI of the rest.
    declared |= {"omegaconf", "pydantic", "pydantic-core", "starlette"}
    # Comes with torch where there is a GPU to run it on, and is asked for nowhere else.
    declared |= {"triton"}
    # Installed without its dependencies (Makefile), and with an error that says so where missing.
    declared |= {"trackeval"}
    # Stubs that every type checker brings; nothing imports them when it runs.
    known = sys.stdlib_module_names | {"tracker", "streamer", "_typeshed"}
    distributions = importlib.metadata.packages_distributions()
    for package in ("tracker", "streamer"):
        for path in (REPOSITORY / package).rglob("*.py"):
            for name in _imported(path) - known:
                owners = {_normal(each) for each in distributions[name]}
                assert owners & declared, f"{path}: {name} is not a dependency of pyproject.toml"


def _imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
