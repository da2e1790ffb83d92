"""A daemon with a model that takes a given time for a step; everything else is real.

    python -m tests.integration.webrtc.slow_daemon STEP_S run --stream camera=whip:// key=value …

What follows STEP_S is what `masklet` takes. A real model on a slow machine would do, but its own
memory, hundreds of megabytes that come and go, would hide what the rest of the daemon keeps.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from streamer.app import App
from streamer.cli.main import make_parser
from streamer.config.loading import load_config
from tests.masklet_process import Masklet
from tests.streamer.fakes import FakeTracker


def slow_masklet(folder: Path, step_s: float) -> Masklet:
    """``masklet`` with a model that takes ``step_s`` for a step."""
    return Masklet(
        folder,
        command=(sys.executable, "-m", "tests.integration.webrtc.slow_daemon", str(step_s)),
        environment={"PYTHONPATH": str(Path(__file__).parents[3])},
    )


class SlowTracker(FakeTracker):
    """Finds every object everywhere, after ``step_s``."""

    def __init__(self, step_s: float) -> None:
        super().__init__()
        self._step_s = step_s

    def step(self, batch: Sequence[Any], *further: Any, **options: Any) -> Any:
        """As the fake one, later; the sizes of batches are not kept, they would grow."""
        time.sleep(self._step_s)
        self.batch_sizes.clear()
        return super().step(batch, *further, **options)


def main() -> None:
    """Run until a signal ends the process."""
    options = make_parser().parse_args(sys.argv[2:])
    config = load_config(options.config, options.overrides, options.stream)
    tracker: Any = SlowTracker(float(sys.argv[1]))
    asyncio.run(App(config, tracker=tracker).run())


if __name__ == "__main__":
    main()
