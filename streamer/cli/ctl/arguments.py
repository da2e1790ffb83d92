"""The arguments of ``masklet ctl``.

Needs no more than ``argparse``: an action's modules are imported when it runs.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

from streamer.cli.argument_types import (
    box,
    colour,
    endpoint,
    object_id,
    path,
    point,
    positive_whole,
    stream,
    stream_id,
    whole,
)

if TYPE_CHECKING:
    # Generic for type checkers only.
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

EXAMPLES = """\
examples:
  masklet ctl streams list
  masklet ctl streams add gate=rtsp://camera.local/stream max_rate_hz=10
  masklet ctl objects prompt gate --point 300,210 --label dog
  masklet ctl objects prompt gate --object 1 --correct --not-point 320,260
  masklet ctl events --stream gate
  masklet ctl --url https://10.0.0.5:8080 --ca masklet.pem --token-file me.token info

The daemon is reached at --url or over the socket --control, else at MASKLET_URL, else at
http://127.0.0.1:8080. The socket needs no token: only the daemon's owner can open it.
The token comes from --token-file, else from the environment: MASKLET_TOKEN, or the variable that
--token-env names. These options may stand before or after the action.
"""
PROMPT_EXAMPLES = """\
examples (pixels of the camera's picture):
  masklet ctl objects prompt gate --point 300,210 --label dog
  masklet ctl objects prompt gate --box 120,80,260,300 --preview    changes nothing
  masklet ctl objects prompt gate --object 3 --mask door.png
  masklet ctl objects prompt gate --object 3 --correct --not-point 320,260
  masklet ctl objects prompt gate --point 300,210 --at-frame 1234

Without --object a new object gets the next unused id. --at-frame and --at-time-ns name the frame
that the coordinates refer to: on a moving object this decides whether the point hits. They may
reach back by the daemon's history.duration_s (1 s).
"""
SETTINGS = (
    "a setting of the stream as under streams.ID in a file, its value as in YAML: max_rate_hz=10, "
    "paused=true, reconnect.maximum_s=30"
)


def add_ctl(commands: Subparsers) -> None:
    """Add ``ctl`` and its actions to the command line."""
    parser = commands.add_parser(
        "ctl",
        help="control a daemon over its HTTP API",
        description="Control a daemon over its HTTP API, on this machine or another.",
        epilog=EXAMPLES,
    )
    add_access(parser, suppress=False)
    parser.set_defaults(of_owner=False)
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    _add_streams(_group(actions, "streams", "list, add, change, pause, resume and remove streams"))
    _add_objects(_group(actions, "objects", "list, prompt, rename and remove objects"))
    _add_others(actions)


def _add_streams(actions: Subparsers) -> None:
    _action(actions, "list", "show the state of every stream", "streams_list")
    add_new_stream_arguments(_action(actions, "add", "add a stream", "streams_add"))
    change = _action(
        actions, "change", "change settings of a stream; its objects stay", "streams_change"
    )
    change.add_argument("stream", type=stream_id, metavar="ID")
    change.add_argument("settings", nargs="+", metavar="KEY=VALUE", help=SETTINGS)
    for name, summary in (
        ("remove", "end a stream and remove its objects"),
        ("pause", "stop tracking; the camera stays connected"),
        ("resume", "track again"),
    ):
        action = _action(actions, name, summary, f"streams_{name}")
        action.add_argument("stream", type=stream_id, metavar="ID")


def add_new_stream_arguments(parser: argparse.ArgumentParser) -> None:
    """The new stream: for ``ctl streams add`` and ``add``."""
    parser.add_argument(
        "stream",
        type=stream,
        metavar="ID=URL",
        help="a name, and a camera, a file (from this folder on) or a device",
    )
    parser.add_argument(
        "--no-wait",
        action="store_true",
        help="do not wait until its first picture came, or for the reason why not",
    )
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help=SETTINGS)


def _add_objects(actions: Subparsers) -> None:
    listing = _action(actions, "list", "show the objects of a stream", "objects_list")
    listing.add_argument("stream", type=stream_id, metavar="STREAM")
    _add_prompt(actions)
    rename = _action(actions, "rename", "change an object's label or colour", "objects_rename")
    remove = _action(actions, "remove", "stop tracking an object", "objects_remove")
    for parser in (rename, remove):
        parser.add_argument("stream", type=stream_id, metavar="STREAM")
        parser.add_argument("object", type=object_id, metavar="N", help="its id")
    rename.add_argument("--label", help="the name in its results")
    rename.add_argument("--colour", type=colour, metavar="#RRGGBB")


def _add_prompt(actions: Subparsers) -> None:
    parser = _action(
        actions,
        "prompt",
        "point at a new object, or prompt one again",
        "objects_prompt",
        PROMPT_EXAMPLES,
    )
    add_prompt_arguments(parser)


def add_prompt_arguments(parser: argparse.ArgumentParser) -> None:
    """The prompt: for ``ctl objects prompt`` and ``prompt``."""
    parser.add_argument("stream", type=stream_id, metavar="STREAM")
    parser.add_argument("--object", type=object_id, metavar="N", help="its id; default: a new one")
    parser.add_argument("--label", help="the name in its results")
    parser.add_argument("--colour", type=colour, metavar="#RRGGBB")
    parser.add_argument(
        "--point", action="append", default=[], type=point, metavar="X,Y", help="on the object"
    )
    parser.add_argument(
        "--not-point",
        action="append",
        default=[],
        type=point,
        metavar="X,Y",
        help="beside the object; alone only for one that is tracked",
    )
    parser.add_argument("--box", type=box, metavar="X0,Y0,X1,Y1", help="half-open")
    parser.add_argument(
        "--mask",
        type=path,
        metavar="FILE[:ID]",
        help="an image: what is not transparent, or not black, is the object; of several, the one "
        "with this grey level, palette entry or #rrggbb",
    )
    parser.add_argument(
        "--at-frame",
        type=whole,
        metavar="N",
        help="the index of the frame that the coordinates refer to",
    )
    parser.add_argument(
        "--at-time-ns", type=whole, metavar="NS", help="its capture time, Unix nanoseconds"
    )
    parser.add_argument("--session", metavar="ID", help="the session of that frame")
    parser.add_argument(
        "--correct",
        action="store_true",
        help="refine the tracked mask instead of starting the object anew",
    )
    parser.add_argument(
        "--replace-points", action="store_true", help="forget the points given before"
    )
    parser.add_argument(
        "--preview", action="store_true", help="show the result without changing anything"
    )


def _add_others(actions: Subparsers) -> None:
    events = _action(actions, "events", "show events as they happen", "events")
    events.add_argument("--stream", type=stream_id, metavar="ID", help="only this stream")
    events.add_argument("--count", type=positive_whole, metavar="N", help="end after N events")
    events.add_argument(
        "--last", type=whole, default=0, metavar="N", help="start with the last N events"
    )
    shot = _action(actions, "snapshot", "write the newest picture as a JPEG file", "snapshot")
    shot.add_argument("stream", type=stream_id, metavar="STREAM")
    shot.add_argument(
        "--output", type=path, metavar="FILE", help="default: STREAM.jpg; -: standard output"
    )
    shot.add_argument("--view", choices=("overlay", "clean"), help="with masks, or without")
    shot.add_argument("--width", type=positive_whole, metavar="PIXELS", help="the largest width")
    _action(
        actions, "info", "show the daemon's version, model and limits, and your permissions", "info"
    )
    _action(actions, "stop", "shut the daemon down", "stop")
    _action(actions, "health", "check whether results are produced and sent", "health")


def _group(actions: Subparsers, name: str, summary: str) -> Subparsers:
    parser = actions.add_parser(
        name, help=summary, description=f"{summary[0].upper()}{summary[1:]}."
    )
    return parser.add_subparsers(title="actions", metavar="ACTION", required=True)


def _action(
    actions: Subparsers, name: str, summary: str, function: str, examples: str = ""
) -> argparse.ArgumentParser:
    parser = actions.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=examples,
    )
    add_access(parser, suppress=True)
    parser.set_defaults(command=later(function))
    return parser


def later(function: str) -> Callable[[argparse.Namespace], int]:
    """A function of ``ctl.actions``, which is imported when it runs."""

    def run(arguments: argparse.Namespace) -> int:
        action: Callable[[argparse.Namespace], int] = getattr(
            import_module("streamer.cli.ctl.actions"), function
        )
        return action(arguments)

    return run


def add_access(parser: argparse.ArgumentParser, *, suppress: bool) -> None:
    """How to reach the daemon; options after the action override those before it."""
    default = argparse.SUPPRESS if suppress else None
    group = parser.add_argument_group("the daemon")
    group.add_argument(
        "--url", default=default, metavar="URL", help="such as http://127.0.0.1:8080"
    )
    group.add_argument(
        "--control",
        default=default,
        type=endpoint,
        metavar="ENDPOINT",
        help="its control.endpoint: ipc:///PATH",
    )
    group.add_argument(
        "--token-env", default=default, metavar="NAME", help="the variable that holds the token"
    )
    group.add_argument(
        "--token-file",
        default=default,
        type=path,
        metavar="FILE",
        help="the file that holds the token",
    )
    group.add_argument(
        "--ca",
        default=default,
        type=path,
        metavar="FILE",
        help="certificates to trust, such as the daemon's",
    )
    flag = argparse.SUPPRESS if suppress else False
    group.add_argument(
        "--insecure",
        action="store_true",
        default=flag,
        help="do not verify the server, and send the token unencrypted too",
    )
    group.add_argument(
        "--json", action="store_true", default=flag, help="print JSON, one object a line"
    )
