"""The parser of one command: its help, examples and handler."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from streamer.runtime.escaping import escaped

if TYPE_CHECKING:
    # Generic for type checkers only.
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


class Parser(argparse.ArgumentParser):
    """Shows its help as written, and errors with its own usage. Actions of it are of this class.

    A parsed namespace names the parser of its command, ``own_parser``. ``first_words``: other
    parsers, each for the arguments after this first word; argparse's own sub-commands cannot be
    beside a list of names.
    """

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        settings.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*arguments, **settings)
        self.set_defaults(own_parser=self)
        self.first_words: dict[str, Parser] = {}

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, by another parser if the first word is one of its."""
        if args and args[0] in self.first_words:
            return self.first_words[args[0]].parse_known_args(args[1:], namespace)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """End with exit code 2."""
        super().error(escaped(message))


def command_parser(
    commands: Subparsers,
    name: str,
    summary: str,
    function: Callable[[argparse.Namespace], int],
    examples: str = "",
) -> argparse.ArgumentParser:
    """Add a command; ``function`` takes the parsed arguments and returns the exit code."""
    parser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=examples,
    )
    parser.set_defaults(command=function)
    return parser
