"""How long to wait before the next attempt: exponential, with jitter and a cap."""

from __future__ import annotations

from random import Random

from streamer.config.schema import ReconnectConfig


class Backoff:
    """Waits ``initial_s · factorⁿ`` up to ``maximum_s``, each varied by ± ``jitter``.

    The jitter keeps cameras that vanished together from being called together. A connection
    that held for ``reset_after_s`` starts the series again.
    """

    def __init__(self, config: ReconnectConfig, random: Random) -> None:
        self._config = config
        self._random = random
        self._base_s = config.initial_s

    def next_delay_s(self, connected_for_s: float) -> float:
        """The wait after an attempt that delivered frames for ``connected_for_s`` (0: never)."""
        config = self._config
        if connected_for_s > 0 and connected_for_s >= config.reset_after_s:
            self._base_s = config.initial_s
        base_s = self._base_s
        self._base_s = min(base_s * config.factor, config.maximum_s)
        spread = 1 + config.jitter * (2 * self._random.random() - 1)
        return min(base_s * spread, config.maximum_s)
