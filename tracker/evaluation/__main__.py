"""``python -m tracker.evaluation``: score a checkpoint on a suite."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tracker.evaluation.arguments import check, make_parser
from tracker.evaluation.command import run


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    parser = make_parser("python -m tracker.evaluation")
    options = parser.parse_args(arguments)
    check(parser, options)
    return run(options)


if __name__ == "__main__":
    sys.exit(main())
