"""rich's console, in which text of others is escaped, and whose caller handles broken pipes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from streamer.runtime.escaping import escaped


class Terminal(Console):
    """Raises ``BrokenPipeError`` where rich would end the process with an error.

    Square brackets in text are no markup: ``rtsp://[fe80::1]/`` would lose its host.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(markup=False, **settings)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """What is shown; line breaks are the layout's."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                lines = segment.text.split("\n")
                yield Segment("\n".join(map(escaped, lines)), segment.style)

    @property
    def can_redraw(self) -> bool:
        """Whether output can be redrawn: not in a file, nor with ``TERM=dumb``."""
        return self.is_terminal and not self.is_dumb_terminal

    def on_broken_pipe(self) -> None:
        """Called by rich in its handler of the error."""
        raise BrokenPipeError
