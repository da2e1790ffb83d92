"""What every test may use: waiting with a deadline, and a free port."""

from __future__ import annotations

import itertools
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import hypothesis
import pytest

# No deadline for an example: it would time the machine.
hypothesis.settings.register_profile("masklet", deadline=None)
hypothesis.settings.load_profile("masklet")

# As the masklet command does, before anything loads torch: OpenMP threads that spin while they
# wait starve the servers and decoders of the tests on a machine with few cores.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

pytest_plugins = ["tests.own_process", "tests.two_workers"]

# No test asks the hub of the internet; those of downloads have one on loopback (tests/fake_hub.py).
os.environ["HF_HUB_OFFLINE"] = "1"

T = TypeVar("T")


def pytest_configure(config: pytest.Config) -> None:
    """One of several workers computes with one thread: the others need a processor too."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        import torch  # here: not every test needs it, and it takes seconds

        torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that are marked ``gpu`` are skipped where there is no CUDA device.

    What libraries warn of there nobody has seen: it is shown, and is no failure.
    """
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    for item in marked:
        item.add_marker(pytest.mark.filterwarnings("default"))
    import torch  # here: not every test needs it, and it takes seconds

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(autouse=True)
def _gradients_stay_on() -> Iterator[None]:
    """What leaves gradients off fails itself, not the trainings that come after it."""
    yield
    if (torch := sys.modules.get("torch")) is not None:
        left_off = not torch.is_grad_enabled()
        torch.set_grad_enabled(True)
        assert not left_off, "the test left gradients off"


def eventually(condition: Callable[[], T], timeout_s: float = 60.0, what: str = "") -> T:
    """The first true value of ``condition``; fails the test when ``timeout_s`` has passed.

    The one place where tests wait for another thread or process. The time is generous: it is
    only used up by a test that fails.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            pytest.fail(f"not within {timeout_s:g} s: {what or getattr(condition, '__name__', '')}")
        time.sleep(0.01)


def find_free_port() -> int:
    """A TCP port of the loopback interface that nobody listened on a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="session")
def state_homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A path for each test: ``mktemp`` would list those of all tests before for each."""
    folder = tmp_path_factory.mktemp("state")
    return (folder / str(number) for number in itertools.count())


@pytest.fixture(autouse=True)
def own_state_home(
    state_homes: Iterator[Path],
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No test, and no process it starts, finds or leaves state in the home of who runs it."""
    home = next(state_homes)
    home.mkdir()
    monkeypatch.setenv("XDG_STATE_HOME", str(home))
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    # One for all tests: what a processor does fastest is measured once.
    monkeypatch.setenv("CACHE_DIRECTORY", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def free_port() -> int:
    """A TCP port of the loopback interface that nobody listened on a moment ago."""
    return find_free_port()


@pytest.fixture
def free_ports() -> Callable[[int], list[int]]:
    """``free_ports(n)``: several different free ports."""

    def find(count: int) -> list[int]:
        listeners = [socket.socket() for _ in range(count)]
        try:
            for listener in listeners:
                listener.bind(("127.0.0.1", 0))
            return [int(listener.getsockname()[1]) for listener in listeners]
        finally:
            for listener in listeners:
                listener.close()

    return find


@pytest.fixture(scope="session")
def random_nano(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of nano's shape with random weights: loads and runs as the real one does."""
    import torch

    from tracker.config import PRESETS
    from tracker.model import Sam2
    from tracker.weights.checkpoint import save_checkpoint

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("checkpoints") / "nano.safetensors"
    save_checkpoint(Sam2(PRESETS["nano"]), path)
    return path
