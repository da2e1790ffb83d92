"""The limit of file descriptors, in a process of its own: it cannot be taken back."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import logging, resource
from streamer.runtime.descriptors import raise_descriptor_limit
logging.basicConfig()
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
raise_descriptor_limit()
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(
    ("soft", "hard", "warning"),
    [(256, 2000, ""), (2000, 2000, ""), (256, 900, "only 900 file descriptors are allowed")],
)
def test_soft_limit_is_raised_to_the_hard_one(soft: int, hard: int, warning: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(soft=soft, hard=hard)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout == f"{hard} {hard}\n"
    assert (warning in ended.stderr) if warning else not ended.stderr
