"""A machine that lacks something is refused with a sentence, before anything is imported."""

from __future__ import annotations

from importlib import metadata

import pytest

from benchmarks.device.needs import why_not

COMPLETE = {
    "torch": "2.14.1+cu130",
    "torchvision": "0.29.1",
    "numpy": "2.4.6",
    "opencv-python": "5.0.0",
    "matplotlib": "3.11.2",
}


def reason(versions: dict[str, str], python: tuple[int, ...] = (3, 12)) -> str | None:
    def version_of(name: str) -> str:
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    return why_not("3.12", python, version_of)


def test_a_complete_machine_is_measured() -> None:
    assert reason(COMPLETE) is None
    assert reason(COMPLETE | {"torch": "2.11.0a0+git"}) is None


@pytest.mark.parametrize(
    ("versions", "python", "message"),
    [
        (COMPLETE, (3, 11, 7), "for Python 3.12, this is 3.11: set PYTHON to another"),
        ({}, (3, 12), "missing here: torch, torchvision, numpy, opencv-python-headless"),
        ({"torch": "2.14.1"}, (3, 12), "run `pip install torchvision numpy opencv-python-headless"),
        (COMPLETE | {"torch": "2.9.1"}, (3, 12), "torch 2.9.1 is too old: 2.11 is the least"),
    ],
)
def test_what_lacks_is_named_with_the_next_step(
    versions: dict[str, str], python: tuple[int, ...], message: str
) -> None:
    assert message in (reason(versions, python) or "")
