"""The arguments of ``masklet fleet``; an action's modules are imported when it runs."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

from streamer.cli.argument_types import path, positive, stream

DOWN_S = 120.0

if TYPE_CHECKING:
    from streamer.cli.command_parser import Subparsers

EXAMPLES = """\
examples:
  masklet fleet up --config fleet.yaml        prints the one address: page, API and results
  masklet fleet gateway api.port=8090         another one, or that of a cluster of yours
  masklet fleet status --watch
  masklet fleet add gate=rtsp://camera.local/stream priority=8
  masklet fleet move gate w2
  masklet fleet drain worker-17 --wait-s 60   move its streams away, and keep it empty
  masklet fleet down

The fleet's Ray cluster is that of --address or RAY_ADDRESS. Without them `up` begins one on this
machine, on loopback, with the gateway, and the other actions find it. --name tells fleets on one
cluster apart.
"""


def add_fleet(commands: Subparsers) -> None:
    """``masklet fleet`` and its actions."""
    parser = commands.add_parser(
        "fleet",
        help="run many streams on many machines, over a Ray cluster",
        description="Run many streams on many machines, over a Ray cluster.",
        epilog=EXAMPLES,
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    up = _action(actions, "up", "begin the fleet, or give a running one another configuration")
    up.add_argument("--config", type=path, required=True, metavar="FILE", help="fleet.yaml")
    up.add_argument(
        "--timeout-s", type=positive, default=600.0, metavar="S",
        help="wait so long for a worker that is ready (600)",
    )  # fmt: skip
    status = _action(actions, "status", "show workers, streams and the last events")
    status.add_argument("--watch", action="store_true", help="a live table, until Ctrl-C")
    add = _action(actions, "add", "want a stream")
    add.add_argument("stream", type=stream, metavar="ID=URL")
    add.add_argument(
        "settings", nargs="*", metavar="KEY=VALUE",
        help="a setting as under streams.ID in the file: priority=8, max_rate_hz=10",
    )  # fmt: skip
    move = _action(actions, "move", "move a stream to another worker")
    move.add_argument("stream_id", metavar="STREAM")
    move.add_argument("worker_id", metavar="WORKER", nargs="?", help="default: the best other one")
    remove = _action(actions, "remove", "end a stream and forget its objects")
    remove.add_argument("stream_id", metavar="STREAM")
    drain = _action(actions, "drain", "empty a node stream by stream, and keep it empty")
    drain.add_argument("node", metavar="NODE", help="its name, or the beginning of it")
    either = drain.add_mutually_exclusive_group()
    either.add_argument("--undo", action="store_true", help="let it have streams again")
    either.add_argument(
        "--wait-s", type=positive, metavar="S",
        help="wait until it has no stream; what it still has after S seconds is an error",
    )  # fmt: skip
    gateway = _action(actions, "gateway", "serve the fleet's API, page and results at one address")
    gateway.add_argument("--config", type=path, metavar="FILE", help="fleet.yaml, for `gateway`")
    gateway.add_argument(
        "settings", nargs="*", metavar="KEY=VALUE",
        help="a setting as under gateway in the file: api.port=8090",
    )  # fmt: skip
    down = _action(
        actions, "down", "end all workers; what is wanted and known stays in the state store"
    )
    down.add_argument(
        "--timeout-s", type=positive, default=DOWN_S, metavar="S",
        help=f"wait so long for workers to save their streams and end ({DOWN_S:g})",
    )  # fmt: skip
    down.add_argument(
        "--force", action="store_true", help="end everything at once, and save nothing more"
    )


def _action(actions: Subparsers, name: str, summary: str) -> argparse.ArgumentParser:
    parser = actions.add_parser(
        name, help=summary, description=f"{summary[0].upper()}{summary[1:]}."
    )
    # Defaults only where nothing was given: fleet.yaml names its fleet.
    parser.add_argument("--name", metavar="NAME", help="the fleet's name (fleet)")
    parser.add_argument("--address", metavar="HOST:PORT", help="the Ray cluster's address")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(command=_handler(name))
    return parser


def _handler(action: str) -> Callable[[argparse.Namespace], int]:
    def run(arguments: argparse.Namespace) -> int:
        handler: Callable[[argparse.Namespace], int] = getattr(
            import_module("streamer.cli.fleet.actions"), action
        )
        return handler(arguments)

    return run
