"""``masklet evaluate``: ``tracker.evaluation`` as a command."""

from __future__ import annotations

import argparse
from argparse import Namespace
from typing import TYPE_CHECKING

from tracker.evaluation.arguments import DESCRIPTION, EXAMPLES, SUMMARY, add_arguments, check

if TYPE_CHECKING:
    # Generic for type checkers only.
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_evaluate(commands: Subparsers) -> None:
    """Add the command to the parser of all commands."""
    parser = commands.add_parser(
        "evaluate",
        help=SUMMARY,
        description=DESCRIPTION,
        epilog=EXAMPLES,
    )
    add_arguments(parser)

    def evaluate(options: Namespace) -> int:
        check(parser, options)
        from streamer.cli.startup import require_temporary_folder

        require_temporary_folder()
        # Imported when it runs: with torch and all readers it takes seconds.
        from tracker.evaluation.command import run

        return run(options)

    parser.set_defaults(command=evaluate)
