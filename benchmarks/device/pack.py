"""Packs the measurements for a bare machine: `make device-kit` writes device-kit.tar.xz.

It holds the code of this checkout and the packages that such a machine lacks. The machine itself
has Python, PyTorch 2.11 or newer, NumPy, torchvision, OpenCV and Matplotlib (for the training), and
needs no network:

    tar -xf device-kit.tar.xz && device-kit/run RESULTS
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.official_predictor import PACKAGES

MOST_BYTES = 60 << 20
ROOT = Path(__file__).resolve().parents[2]
_NAME = "device-kit"

# Of the daemon's packages those that every machine with PyTorch has, or that are too large.
_THERE = re.compile(
    r"torch|torchvision|triton|nvidia-.*|cuda-.*|numpy|opencv-.*|setuptools|sympy|mpmath|networkx|"
    r"pillow|hf-xet"  # torchvision's; faster downloads, of which there are none
)
# Further ones for the tests and the other implementations.
_FURTHER = re.compile(
    r"pytest(-asyncio|-timeout)?|pluggy|iniconfig|hypothesis|sortedcontainers|psutil|transformers|"
    r"tokenizers|regex|typer|shellingham|click"
)
_LEFT_OUT = ("deploy/", "docs/", "tests/integration/browser/", "tests/docs/", "tests/deploy/")

_RUN = """\
#!/usr/bin/env bash
# Measures this machine into a folder, 8 minutes; the same command goes on after a stop.
set -eu
HERE=$(cd "$(dirname "$0")" && pwd)
OUT=$(realpath "${1:?usage: $0 RESULTS [--rehearse]}")
shift
cd "$HERE/code"
export PYTHONPATH=$HERE/code:$HERE/site PYTHONUNBUFFERED=1 OMP_WAIT_POLICY=passive HF_HUB_OFFLINE=1
PYTHON=${PYTHON:-python3}
"$PYTHON" -m benchmarks.device.needs BUILT_FOR
exec "$PYTHON" -m benchmarks.device "$OUT" "$@"
"""


def main() -> int:
    """Write the archive; 1 if it is too large."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path(f"{_NAME}.tar.xz"))
    parser.add_argument("--python", default="3.12", help="of that machine (default: %(default)s)")
    options = parser.parse_args()
    if shutil.which("uv") is None:
        parser.error("uv is not on PATH: `make device-kit` installs it, as does `pip install uv`")
    with TemporaryDirectory() as folder:
        kit = Path(folder) / _NAME
        (kit / "code").mkdir(parents=True)
        for file in code_files():
            target = kit / "code" / file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / file).read_bytes())
        install_packages(kit / "site", options.python)
        name_masklet(kit / "site")
        (kit / "run").write_text(_RUN.replace("BUILT_FOR", options.python))
        (kit / "run").chmod(0o755)
        # By the tool, which uses all cores.
        command = ["tar", "--create", "--use-compress-program", "xz -T0 -6", "--file"]
        subprocess.run([*command, options.out.absolute(), _NAME], cwd=folder, check=True)
    size = options.out.stat().st_size
    print(f"{options.out}: {size / (1 << 20):.1f} MiB of at most {MOST_BYTES >> 20}")
    return 0 if size <= MOST_BYTES else 1


def code_files() -> list[str]:
    """The files of this checkout that travel, as they are on disk."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return [
        name
        for name in listed.stdout.splitlines()
        if not name.startswith(_LEFT_OUT) and (ROOT / name).is_file()
    ]


def install_packages(site: Path, python: str) -> None:
    """Install them for that machine. Raises CalledProcessError; uv reports the reason."""
    command = ["uv", "pip", "install", "--quiet", "--no-deps", "--python", sys.executable]
    # Copies: tar would notice that another installation links to the same files.
    command += ["--link-mode", "copy", "--target", str(site)]
    of_machine = ["--python-version", python, "--python-platform", "x86_64-manylinux_2_28"]
    with TemporaryDirectory() as folder:
        pinned = Path(folder) / "pinned.txt"
        pinned.write_text("".join(pinned_packages()))
        subprocess.run([*command, *of_machine, "--requirement", str(pinned)], check=True)
    # Built from source without its extension; in this environment, since its own would fetch torch.
    subprocess.run(
        [*command, "--no-build-isolation", *PACKAGES],
        check=True,
        env=os.environ | {"SAM2_BUILD_CUDA": "0"},
    )


def name_masklet(site: Path) -> None:
    """The code runs from its folder; what it is called and its version is read from metadata."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    folder = site / f"masklet-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: masklet\nVersion: {version}\n")


def pinned_packages() -> Iterator[str]:
    """The entries of the lists in deploy/ that travel, with their hashes."""
    for file, travels in (
        ("requirements.lock", lambda name: not _THERE.fullmatch(name)),
        ("requirements-dev.lock", _FURTHER.fullmatch),
    ):
        text = (ROOT / "deploy" / file).read_text()
        for entry in re.findall(r"^[a-z0-9][^\n]*\n(?:[ \t][^\n]*\n)*", text, re.MULTILINE):
            if travels(re.split(r"[=\[]", entry, maxsplit=1)[0]):
                yield entry


if __name__ == "__main__":
    sys.exit(main())
