"""The examples of the contract page, run as their readers would, against a real publisher.

The Node example needs ``nodejs`` and ``npm`` (Debian packages) and the packages of its lock file,
which ``make test`` installs: ``cd deploy/examples/node && npm ci --ignore-scripts``.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.streamer.sinks.zeromq.helpers import background_publisher

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "deploy" / "examples"
CONTRACT = ROOT / "docs" / "wire.md"
FRAMES = 25  # with two events among them at least
EVENT = "gate event occluded object 2 (left_picture) unseen for 0.1 s\n"
LINES = re.compile(
    r"gate frame (\d+) object 1 visible box \(10, 20, 15, 26\) area 18 score 0\.8[78]\n"
    r"gate frame \1 object 2 occluded box \(0, 0, 0, 0\) area 0 score 0\.25\n"
)


def run(command: list[str], folder: Path) -> str:
    finished = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def check(output: str) -> None:
    """Every frame is there with its objects, events stand between them, and nothing else."""
    assert output.count(EVENT) >= 2
    frames = output.replace(EVENT, "")
    assert len(LINES.findall(frames)) == FRAMES
    assert LINES.sub("", frames) == ""


@pytest.fixture(scope="module")
def node_example() -> Path:
    """The folder of the Node example with its packages."""
    folder = EXAMPLES / "node"
    if not (folder / "node_modules" / "zeromq").is_dir():
        assert shutil.which("npm"), "npm is missing: `make test` installs Debian's nodejs and npm"
        run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], folder)
    return folder


def test_plain_pyzmq_reads_results(tmp_path: Path) -> None:
    script = EXAMPLES / "plain_pyzmq.py"
    assert not re.search(r"import (streamer|tracker)|from (streamer|tracker)", script.read_text())
    with background_publisher() as endpoint:
        output = run(
            [sys.executable, str(script), endpoint, "--stream", "gate", "--count", str(FRAMES)],
            tmp_path,
        )
    check(output)


def test_node_reads_results(node_example: Path) -> None:
    with background_publisher() as endpoint:
        output = run(["node", "subscribe.mjs", endpoint, "gate", str(FRAMES)], node_example)
    check(output)


@pytest.mark.parametrize("example", ["plain_pyzmq.py", "node/subscribe.mjs"])
def test_the_contract_page_shows_the_examples_as_they_are(example: str) -> None:
    assert (EXAMPLES / example).read_text() in CONTRACT.read_text()
