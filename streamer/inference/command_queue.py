"""The bounded queue of commands from other threads to the inference thread."""

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
    """Any thread adds commands; one thread carries them out, in order.

    Bound: ``COMMANDS_WAITING`` waiting commands; policy: a further one raises ``BusyError``.
    """

    def __init__(self, on_added: Callable[[], None]) -> None:
        self._on_added = on_added
        self._waiting: deque[Callable[[], None]] = deque()
        self._lock = threading.Lock()
        self._closed = False

    def add(self, action: Callable[[], T]) -> Future[T]:
        """Queue ``action``; its result goes to the future.

        A ``TrackerError`` in it becomes the future's ``ControlError``. Raises ``BusyError``.
        """
        done: Future[T] = Future()

        def carry_out() -> None:
            if not done.set_running_or_notify_cancel():
                return  # the caller has stopped waiting
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
        """Carry out all waiting commands, each after ``before_each``."""
        while self._waiting:  # only this thread removes commands
            if before_each is not None:
                before_each()
            with self._lock:
                command = self._waiting.popleft()
            command()

    def close(self) -> None:
        """Refuse further commands, and carry out those that wait."""
        with self._lock:
            self._closed = True
        self.carry_out_all()

    def refuse(self) -> None:
        """Refuse further commands."""
        with self._lock:
            self._closed = True
