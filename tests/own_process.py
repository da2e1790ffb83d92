"""Tests in their own process (``@pytest.mark.own_process``): what changes, forks or measures it.

Ray's driver puts its handlers of signals in place of those that are there, the one of pytest that
prints a crash included, and its threads outlive the cluster. A fork takes over whatever locks the
threads of all former tests hold. What a large process keeps free is used and returned at any time.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

_INSIDE = "TEST_IN_ITS_OWN_PROCESS"


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Run a marked test by a pytest of its own; its output is the report of a failure."""
    if item.get_closest_marker("own_process") is None or _INSIDE in os.environ:
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    began_s = time.time()
    child = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", item.nodeid],
        cwd=item.config.rootpath,
        env={**os.environ, _INSIDE: "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    ended_s = time.time()
    # Not the status alone: a test that is skipped there has not passed.
    passed = child.returncode == 0 and "1 passed" in child.stdout
    report = pytest.TestReport(
        nodeid=item.nodeid,
        location=item.location,
        keywords=dict.fromkeys(item.keywords, 1),
        outcome="passed" if passed else "failed",
        longrepr=None if passed else f"ended with {child.returncode}:\n{child.stdout}",
        when="call",
        duration=ended_s - began_s,
        start=began_s,
        stop=ended_s,
    )
    item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    # What the test before kept for this one, such as the fixtures of their module, ends here.
    item.session._setupstate.teardown_exact(nextitem)
    return True
