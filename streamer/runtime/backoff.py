"""How long to wait before the next attempt: exponential, with jitter and a cap."""

from __future__ import annotations

from random import Random
from typing import Protocol


class Waits(Protocol):
    """The values of a series of waits; times in seconds."""

    @property
    def initial_s(self) -> float: ...
    @property
    def maximum_s(self) -> float: ...
    @property
    def factor(self) -> float: ...
    @property
    def jitter(self) -> float: ...
    @property
    def reset_after_s(self) -> float: ...


class Backoff:
    """Waits ``initial_s · factorⁿ`` up to ``maximum_s``, each varied by ± ``jitter``.

    The jitter keeps cameras that vanished together from being tried together. A connection
    that held for ``reset_after_s`` starts the series again.
    """

    def __init__(self, waits: Waits, random: Random) -> None:
        self._waits = waits
        self._random = random
        self._base_s = waits.initial_s

    def next_delay_s(self, connected_for_s: float) -> float:
        """The wait after an attempt that delivered frames for ``connected_for_s`` (0: never)."""
        waits = self._waits
        if connected_for_s > 0 and connected_for_s >= waits.reset_after_s:
            self._base_s = waits.initial_s
        base_s = self._base_s
        self._base_s = min(base_s * waits.factor, waits.maximum_s)
        spread = 1 + waits.jitter * (2 * self._random.random() - 1)
        return min(base_s * spread, waits.maximum_s)
