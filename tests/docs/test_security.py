"""The promises of docs/security.md: each names tests that there are."""

from __future__ import annotations

import re

import pytest

from tests.docs.pages import ROOT

PAGE = (ROOT / "docs" / "security.md").read_text()
PROMISES = [
    (promise.strip(), re.findall(r"`(tests/[^`]+)`", shown))
    for promise, shown in re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", PAGE, re.MULTILINE)
    if promise.strip() != "promise"
]


def test_the_page_has_promises() -> None:
    assert len(PROMISES) > 30


@pytest.mark.parametrize(("promise", "shown_by"), PROMISES, ids=[each[0][:40] for each in PROMISES])
def test_promise_names_tests_that_exist(promise: str, shown_by: list[str]) -> None:
    assert shown_by, f"no test shows: {promise}"
    for place in shown_by:
        file, _, name = place.partition("::")
        source = ROOT / file
        assert source.exists(), f"{file} is not there"
        text = source.read_text()
        wanted = rf"def {name}\b" if name else r"def test_"
        assert re.search(wanted, text), f"{place} is not there"
