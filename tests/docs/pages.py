"""The documents and their code blocks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
    *(ROOT / name for name in ("deploy/README.md", "checkpoints/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]


@dataclass(frozen=True)
class Block:
    """A fenced block: where it begins, what it is written in, and its text."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path) -> Iterator[Block]:
    """All blocks of a page; a block that is indented instead of fenced is an error."""
    opened: tuple[int, str] | None = None
    lines: list[str] = []
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if line.startswith("```"):
            if opened is None:
                opened, lines = (number, line[3:].strip()), []
            else:
                yield Block(page, *opened, "\n".join(lines) + "\n")
                opened = None
        elif opened is not None:
            lines.append(line)
        else:
            assert not line.startswith("    "), f"{page}:{number}: fence this block"
    assert opened is None, f"{page}: a block without an end"


BLOCKS = [block for page in PAGES for block in blocks_of(page)]
