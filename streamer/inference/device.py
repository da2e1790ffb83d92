"""A device of the daemon: its tracker's commands, and how frames are prepared for it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from streamer.inference.commands import InferenceCommands
from streamer.inference.preparation import IN_RGB, Preparation

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Device:
    """One of those that streams are divided among; a stream stays on its own, as its memories do.

    ``name``: see ``names_of``.
    """

    name: str
    commands: InferenceCommands
    preparation: Preparation = IN_RGB


def names_of(devices: Iterable[str]) -> list[str]:
    """A name for each tracker: its device's, with a number from the second on of one device."""
    seen: Counter[str] = Counter()
    names = []
    for device in devices:
        seen[device] += 1
        names.append(device if seen[device] == 1 else f"{device} ({seen[device]})")
    return names


def shared_progress(report: Progress, count: int) -> list[Progress]:
    """For each of ``count`` threads what it reports to; ``report`` gets the sums.

    It is called by one thread at a time, once all of them have begun.
    """
    of_each: dict[int, tuple[int, int]] = {}
    lock = threading.Lock()

    def part(number: int) -> Progress:
        def progress(done: int, steps: int) -> None:
            with lock:
                of_each[number] = done, steps
                if len(of_each) == count:
                    report(*map(sum, zip(*of_each.values(), strict=True)))

        return progress

    return [part(number) for number in range(count)]
