"""The arguments of the commands that talk to a running daemon on this machine.

Needs no more than ``argparse``: what a command uses is imported when it runs.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from streamer.cli import commands as handlers
from streamer.cli.argument_types import (
    box,
    object_id,
    point,
    positive_whole,
)
from streamer.cli.command_parser import command_parser

if TYPE_CHECKING:
    from streamer.cli.command_parser import Subparsers

DEFAULT_ENDPOINT = "tcp://127.0.0.1:5555"
PROMPT_EXAMPLES = """\
examples (pixels of the camera's picture):
  masklet prompt gate --object 1 --label dog --box 120,80,260,300
  masklet prompt gate --object 2 --point 300,210
  masklet prompt gate --object 2 --point 300,210 --not-point 320,260   point anew
  masklet prompt gate --object 2 --not-point 340,255 --correct         its mask has too much
  masklet prompt gate --object 3 --mask door.png
"""
WATCH_EXAMPLES = """\
examples:
  masklet watch
  masklet watch tcp://127.0.0.1:5555 --stream gate
  masklet watch --json --count 100 | jq .objects
  masklet watch tcp://10.0.0.5:5555 --server-key server.key --client-keys me.key_secret
"""


def add_watch(commands: Subparsers) -> None:
    """``masklet watch``."""
    parser = command_parser(
        commands, "watch", "show what a daemon publishes, live", handlers.watch, WATCH_EXAMPLES
    )
    parser.add_argument("endpoint", nargs="?", default=DEFAULT_ENDPOINT, help=DEFAULT_ENDPOINT)
    parser.add_argument("--stream", metavar="ID", help="only this stream")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--count", type=positive_whole, metavar="N", help="end after N results")
    parser.add_argument("--server-key", metavar="FILE", help="the daemon's public key")
    parser.add_argument("--client-keys", metavar="FILE", help="your own NAME.key_secret")


def add_prompt(commands: Subparsers) -> None:
    """``masklet prompt``."""
    parser = command_parser(
        commands, "prompt", "name an object of a running stream", handlers.prompt, PROMPT_EXAMPLES
    )
    parser.add_argument("stream", metavar="STREAM")
    parser.add_argument("--object", type=object_id, required=True, metavar="N", help="its id")
    parser.add_argument("--label", help="a name that results carry")
    parser.add_argument(
        "--point", action="append", default=[], type=point, metavar="X,Y", help="on the object"
    )
    parser.add_argument(
        "--not-point",
        action="append",
        default=[],
        type=point,
        metavar="X,Y",
        help="beside the object",
    )
    parser.add_argument("--box", type=box, metavar="X0,Y0,X1,Y1", help="half-open")
    parser.add_argument("--mask", metavar="FILE", help="a picture; what is not black is the object")
    parser.add_argument(
        "--replace-points", action="store_true", help="forget the points given before"
    )
    parser.add_argument(
        "--correct",
        action="store_true",
        help="refine the object where it was found on the newest frame, do not start it anew",
    )
    _add_control(parser)


def add_stream_commands(commands: Subparsers) -> None:
    """``masklet add``, ``remove``, ``streams`` and ``stop``."""
    parser = command_parser(commands, "add", "add a stream to a running daemon", handlers.add)
    parser.add_argument("stream", metavar="ID=URL")
    _add_control(parser)
    parser = command_parser(
        commands, "remove", "stop following an object, or a whole stream", handlers.remove
    )
    parser.add_argument("stream", metavar="STREAM")
    parser.add_argument("--object", type=object_id, metavar="N", help="only this object")
    _add_control(parser)
    parser = command_parser(
        commands, "streams", "show how every stream of a running daemon does", handlers.streams
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    _add_control(parser)
    parser = command_parser(commands, "stop", "end a running daemon", handlers.stop)
    _add_control(parser)


def _add_control(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--control", metavar="ENDPOINT", help="the daemon's control.endpoint, if not the default"
    )
