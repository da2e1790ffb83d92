"""The two workers of ``make test`` (pytest-xdist): which tests run beside which, and one that dies.

Daemons are given free ports before they use them, Ray and the documents have fixed ones, browsers
need both processors. One worker has all such tests, one after the other. The second has the other
files; the first takes what is left of them in the end.
"""

from __future__ import annotations

from typing import Any

import pytest

# No daemon, browser or Ray; servers only on ports that the system chooses as they bind.
APART = tuple(
    f"tests/{folder}/"
    for folder in (
        "benchmarks",
        "streamer/config",
        "streamer/inference",
        "streamer/runtime",
        "streamer/sinks",
        "streamer/sources",
        "streamer/starters",
        "streamer/wire",
        "tracker",
    )
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put first what one worker does alone: it takes longest."""
    items.sort(key=lambda item: item.nodeid.startswith(APART))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Give out a file at a time, and all that is not apart at once."""
    from xdist.scheduler import LoadScopeScheduling  # here: xdist is not in a bare environment

    class Files(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return nodeid.partition("::")[0] if nodeid.startswith(APART) else "one worker"

        def remove_node(self, node: Any) -> str | None:
            """As it is, but what killed a worker is not given to the next one."""
            for unit in self.assigned_work[node].values():
                for nodeid, is_complete in unit.items():
                    if not is_complete:
                        unit[nodeid] = True
                        super().remove_node(node)
                        return nodeid
            return super().remove_node(node)

    config.option.loadscopereorder = False
    return Files(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """A worker that dies is a failure, one that dies after its last test too."""
    if error is None:
        return
    name = f"worker {node.gateway.id}"
    node.config.hook.pytest_runtest_logreport(
        report=pytest.TestReport(
            nodeid=name,
            location=(name, None, name),
            keywords={},
            outcome="failed",
            longrepr=f"{name} died: {error}",
            when="call",
        )
    )
