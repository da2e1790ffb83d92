"""What other threads ask of the inference thread: bounded, in their order, each with its answer."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from streamer.errors import BusyError, ControlError
from tracker.errors import TrackerError

T = TypeVar("T")
COMMANDS_WAITING = 256


class CommandQueue:
    """Any thread adds, one thread carries out.

    Bound: ``COMMANDS_WAITING`` commands wait; policy: a further one raises ``BusyError``.
    """

    def __init__(self, on_added: Callable[[], None]) -> None:
        self._on_added = on_added
        self._waiting: deque[Callable[[], None]] = deque()
        self._lock = threading.Lock()
        self._closed = False

    def add(self, action: Callable[[], T]) -> Future[T]:
        """Have ``action`` carried out; the future takes its answer.

        What it raises as ``TrackerError`` comes out as ``ControlError``. Raises ``BusyError``.
        """
        done: Future[T] = Future()

        def carry_out() -> None:
            if not done.set_running_or_notify_cancel():
                return  # who asked does not wait any more
            try:
                done.set_result(action())
            except TrackerError as error:
                done.set_exception(ControlError(str(error)))

        with self._lock:
            if self._closed:
                raise BusyError("the daemon is stopping")
            if len(self._waiting) >= COMMANDS_WAITING:
                raise BusyError(
                    f"{COMMANDS_WAITING} commands wait for the tracker already; try again later"
                )
            self._waiting.append(carry_out)
        self._on_added()
        return done

    def carry_out_all(self, before_each: Callable[[], object] | None = None) -> None:
        """Carry out what waits, each after ``before_each``."""
        while self._waiting:  # nobody else takes from it
            if before_each is not None:
                before_each()
            with self._lock:
                command = self._waiting.popleft()
            command()

    def close(self) -> None:
        """Refuse what comes from now on, and carry out what waits."""
        with self._lock:
            self._closed = True
        self.carry_out_all()

    def refuse(self) -> None:
        """Refuse what comes from now on."""
        with self._lock:
            self._closed = True
