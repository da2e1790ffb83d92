"""The arguments of the commands that talk to a running daemon on this machine.

Needs no more than ``argparse``: a command's modules are imported when it runs.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from streamer.cli import commands as handlers
from streamer.cli.argument_types import endpoint, object_id, path, positive_whole, stream_id
from streamer.cli.command_parser import command_parser
from streamer.cli.ctl.arguments import (
    add_access,
    add_new_stream_arguments,
    add_prompt_arguments,
    later,
)

if TYPE_CHECKING:
    from streamer.cli.command_parser import Subparsers

DEFAULT_ENDPOINT = "tcp://127.0.0.1:5555"
PROMPT_EXAMPLES = """\
examples (pixels of the camera's picture):
  masklet prompt gate --object 1 --label dog --box 120,80,260,300
  masklet prompt gate --object 2 --point 300,210
  masklet prompt gate --object 2 --point 300,210 --not-point 320,260   start it anew
  masklet prompt gate --object 2 --not-point 340,255 --correct         its mask is too large
  masklet prompt gate --object 3 --mask door.png

"""
ADD_EXAMPLES = """\
examples:
  masklet add gate=rtsp://camera.local/stream
  masklet add clip=videos/clip.mp4 loop=true        a path starts in this folder
  masklet add web=/dev/video0 max_rate_hz=10 --no-wait
  masklet add 'yard=rtsp://admin:p%23ss@camera.local/1?a=b&c=d'    quotes: & is the shell's

It returns when the stream's first picture came: exit code 1, with the reason, if none does
within open_timeout_s (10 s). A stream that fails stays, and is tried again.

"""
REMOVE_EXAMPLES = """\
examples:
  masklet remove gate --object 2
  masklet remove gate

"""
SHORT_FORM = """\
A short form of masklet ctl for the daemon of this user on this machine: it is reached over its
control socket, unless --url or MASKLET_URL names another.
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
        commands, "watch", "show a daemon's results, live", handlers.watch, WATCH_EXAMPLES
    )
    parser.add_argument(
        "endpoint", nargs="?", type=endpoint, default=DEFAULT_ENDPOINT, help=DEFAULT_ENDPOINT
    )
    parser.add_argument("--stream", type=stream_id, metavar="ID", help="only this stream")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--count", type=positive_whole, metavar="N", help="end after N results")
    parser.add_argument("--server-key", type=path, metavar="FILE", help="the daemon's public key")
    parser.add_argument("--client-keys", type=path, metavar="FILE", help="your own NAME.key_secret")


def add_short_forms(commands: Subparsers) -> None:
    """``masklet prompt``, ``add``, ``remove``, ``streams`` and ``stop``."""
    parser = _short_form(
        commands,
        "prompt",
        "point at an object of a running stream",
        "objects_prompt",
        PROMPT_EXAMPLES,
    )
    add_prompt_arguments(parser)
    parser = _short_form(
        commands, "add", "add a stream to a running daemon", "streams_add", ADD_EXAMPLES
    )
    add_new_stream_arguments(parser)
    parser = _short_form(
        commands,
        "remove",
        "stop tracking an object, or remove a whole stream",
        "remove",
        REMOVE_EXAMPLES,
    )
    parser.add_argument("stream", type=stream_id, metavar="STREAM")
    parser.add_argument("--object", type=object_id, metavar="N", help="only this object")
    _short_form(commands, "streams", "show the streams of a running daemon", "streams_list")
    _short_form(commands, "stop", "shut down a running daemon", "stop")


def _short_form(
    commands: Subparsers, name: str, summary: str, function: str, examples: str = ""
) -> argparse.ArgumentParser:
    parser = command_parser(commands, name, summary, later(function), f"{examples}{SHORT_FORM}")
    add_access(parser, suppress=False)
    parser.set_defaults(of_owner=True)
    return parser
