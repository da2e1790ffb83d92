"""rich's console without markup, whose caller handles broken pipes."""

from __future__ import annotations

from typing import Any

from rich.console import Console


class Terminal(Console):
    """Raises ``BrokenPipeError`` where rich would end the process with an error.

    Square brackets in text are no markup: ``rtsp://[fe80::1]/`` would lose its host.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(markup=False, **settings)

    @property
    def can_redraw(self) -> bool:
        """Whether output can be redrawn: not in a file, nor with ``TERM=dumb``."""
        return self.is_terminal and not self.is_dumb_terminal

    def on_broken_pipe(self) -> None:
        """Called by rich in its handler of the error."""
        raise BrokenPipeError
