"""One question to all workers at once, so that many clients cost each of them one request."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Generic, TypeVar

import httpx

from streamer.api.server.problems import ProblemError
from streamer.fleet.gateway.known_fleet import KnownFleet
from streamer.fleet.gateway.line import Line

# A worker that takes longer counts as away in this answer; the others' answers do not wait more.
TIMEOUT_S = 3.0
# Clients that ask within this time of an answer share it.
FRESH_S = 0.5
AnswerT = TypeVar("AnswerT")
_log = logging.getLogger(__name__)


class Asking(Generic[AnswerT]):
    """``GET path`` of every worker. Bound: the last answers, and one question at a time."""

    def __init__(
        self, fleet: KnownFleet, path: str, read: Callable[[httpx.Response], AnswerT]
    ) -> None:
        """``read`` makes of an answer what is kept; it may raise as for JSON of another form."""
        self._read = read
        self._fleet = fleet
        self._path = path
        self._answers: dict[str, AnswerT] = {}
        self._asked_monotonic_s = float("-inf")
        self._turn = asyncio.Lock()

    async def answers(self) -> dict[str, AnswerT]:
        """The answers by worker, without those that are away."""
        wanted_s = time.monotonic() - FRESH_S
        async with self._turn:
            if self._asked_monotonic_s < wanted_s:
                asked_s = time.monotonic()
                lines = self._fleet.lines
                given = await asyncio.gather(*(self._ask(line) for line in lines))
                self._answers = {
                    line.worker.worker_id: answer
                    for line, answer in zip(lines, given, strict=True)
                    if answer is not None
                }
                self._asked_monotonic_s = asked_s
        return self._answers

    async def _ask(self, line: Line) -> AnswerT | None:
        try:
            async with asyncio.timeout(TIMEOUT_S), line.lasting():
                answer = await line.client.get(self._path)
        except (TimeoutError, ProblemError):
            return None
        if answer.status_code != 200:
            return None
        try:
            return self._read(answer)
        except (ValueError, LookupError, TypeError):
            _log.warning(
                "worker %s answers %s with something that is none of ours",
                line.worker.worker_id,
                self._path,
            )
            return None
