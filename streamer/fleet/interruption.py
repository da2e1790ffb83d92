"""SIGTERM and Ctrl-C where nodes of Ray are started: an end in order, or at once after a while."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Three nodes with their daemons end within 5 s on a quiet machine.
END_S = 20.0
_SIGNALS = frozenset({signal.SIGINT, signal.SIGTERM})
_log = logging.getLogger(__name__)


@contextmanager
def interruptible(folder: Path) -> Iterator[None]:
    """Both signals raise ``KeyboardInterrupt`` in the block; in the main thread only.

    Python calls a handler once the main thread is back from C++, and Ray waits there for a node for
    up to minutes. So a thread ends the process if it still runs ``END_S`` after the first signal:
    the kernel ends Ray's processes with their parent, and guards end the daemons. ``folder`` is
    removed then.
    """
    ended = threading.Event()
    signals, written = socket.socketpair()
    written.setblocking(False)

    def watch() -> None:
        while (number := signals.recv(1)) and number[0] not in _SIGNALS:
            pass
        if number and not ended.wait(END_S):
            _log.warning("Ray has not ended within %g s: its processes are killed now", END_S)
            shutil.rmtree(folder, ignore_errors=True)
            os._exit(128 + signal.SIGINT)

    handler = signal.signal(signal.SIGTERM, signal.default_int_handler)
    descriptor = signal.set_wakeup_fd(written.fileno(), warn_on_full_buffer=False)
    watching = threading.Thread(target=watch, name="interruption", daemon=True)
    watching.start()
    try:
        yield
    except SystemExit:  # raised by the handler that Ray has while it starts a node
        raise KeyboardInterrupt from None
    finally:
        ended.set()
        signal.set_wakeup_fd(descriptor)
        signal.signal(signal.SIGTERM, handler)
        written.close()
        watching.join()
        signals.close()
