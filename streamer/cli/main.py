"""The ``masklet`` command: reads arguments, calls one function of one module, reports errors.

A command's modules are imported when it runs (see ``commands``), so that ``--help``, ``watch`` and
``keys`` never wait for torch.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from streamer.cli import commands as handlers
from streamer.cli import exit_codes
from streamer.cli.argument_types import folder, path, positive
from streamer.cli.bench.arguments import BENCH_EXAMPLES, add_bench_arguments, bench
from streamer.cli.client_arguments import add_short_forms, add_watch
from streamer.cli.command_parser import Parser, command_parser
from streamer.cli.ctl.arguments import add_ctl
from streamer.cli.evaluate import add_evaluate
from streamer.cli.fleet.arguments import add_fleet
from streamer.cli.image.arguments import add_image
from streamer.cli.lines import discard_output, prepare_output, write_line
from streamer.cli.segment.arguments import add_segment
from streamer.config.shipped import config_groups
from streamer.errors import ConfigError, MaskletError, SecurityError
from streamer.runtime.malloc import keep_freed_memory
from streamer.runtime.redaction import redact
from tracker.errors import TrackerError

if TYPE_CHECKING:
    from streamer.cli.command_parser import Subparsers

EXAMPLES = """\
try it, with a rendered match and no camera:
  masklet demo

track an object on a camera, in three terminals:
  masklet run --stream gate=rtsp://camera.local/stream
  masklet prompt gate --object 1 --label dog --box 120,80,260,300
  masklet watch --stream gate

Exit codes: 0 done, 1 failed, 2 wrong arguments or configuration, 130 interrupted.
"""
RUN_EXAMPLES = """\
examples:
  masklet run --stream gate=rtsp://camera.local/stream
  masklet run --stream a=clip.mp4 --stream b=/dev/video0 tracking.max_objects=16
  masklet run --config masklet.yaml model=sam2.1_hiera_small model.device=cuda:0
  masklet run source=synthetic metrics.port=0 log.format=json
  masklet run starter=motion --stream gate=rtsp://camera.local/stream    objects start automatically

groups (name=option), each a file of the shipped configs:
{groups}
single values (dotted.key=value) are the keys of configs/masklet.yaml; the error for an
invalid one lists the allowed values. Put a URL in --stream or the file. Put a password in
an environment variable or a file, and name it in the configuration (password_env,
password_file).
"""
CHECKPOINTS_EXAMPLES = """\
examples:
  masklet checkpoints list
  masklet checkpoints pull sam2.1_hiera_small
  masklet checkpoints pull facebook/sam2.1-hiera-small      the same, by its name on the hub
  masklet checkpoints pull fasterrcnn_mobilenet_v3_large_320_fpn      for starter=torchvision
  masklet checkpoints verify ~/Downloads/sam2.1_hiera_small.pt

The Hugging Face hub is asked first, and its cache keeps the files: HF_HOME, HF_ENDPOINT (a
mirror), HF_TOKEN and HF_HUB_OFFLINE hold. Where it fails, official files come from Meta's own
address, into $MASKLET_CHECKPOINTS, or ~/.cache/masklet/checkpoints if it is unset.
"""
DOCTOR_EXAMPLES = """\
examples:
  masklet doctor
  masklet doctor --stream gate=rtsp://camera.local/stream     check that the camera answers
  masklet doctor --config /etc/masklet/masklet.yaml           check what this configuration needs

The exit code is 1 if something that masklet run needs with these arguments is missing.
"""
KEYS_EXAMPLES = """\
examples:
  masklet keys /etc/masklet/keys --client laptop
  masklet run sink=network --stream gate=rtsp://camera.local/stream
  masklet watch tcp://10.0.0.5:5555 --server-key server.key --client-keys laptop.key_secret
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; an error is reported as one line on stderr."""
    # How long OpenMP's threads spin before they sleep; read when torch is loaded. On few cores,
    # endless spinning starves the decode threads and the OpenMP threads themselves: a step of
    # nano took 398 ms instead of 90 on two busy cores. Without spinning, every operation pays a
    # wake-up: 47 ms instead of 33 on two idle cores. A spin count of 2000 gives 34 ms.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    keep_freed_memory()
    prepare_output()
    parsed = _parse(make_parser(), arguments)
    command: Callable[[argparse.Namespace], int] = parsed.command
    try:
        code = command(parsed)
        sys.stdout.flush()
        return code
    except (ConfigError, SecurityError) as error:
        return _failed(error, exit_codes.REFUSED)
    except (MaskletError, TrackerError) as error:
        return _failed(error, exit_codes.FAILED)
    except KeyboardInterrupt:
        return exit_codes.INTERRUPTED
    except BrokenPipeError:
        discard_output()  # its reader closed it (`| head`)
        return exit_codes.DONE
    except OSError as error:  # a full disk, a folder that was taken away
        discard_output()
        return _failed(error, exit_codes.FAILED)


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser: argparse.ArgumentParser = Parser(
        prog="masklet",
        description="Live video in, SAM 2 masks out: click an object once, and receive its mask "
        "and box for every frame on a ZeroMQ socket.",
        epilog=EXAMPLES,
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_demo(commands)
    _add_run(commands)
    add_watch(commands)
    add_short_forms(commands)
    add_segment(commands)
    _add_small_commands(commands)
    add_ctl(commands)
    add_image(commands)
    _add_checkpoints(commands)
    _add_bench(commands)
    add_evaluate(commands)
    add_fleet(commands)
    return parser


def _add_demo(commands: Subparsers) -> None:
    parser = command_parser(
        commands,
        "demo",
        "track a rendered match live, and save a video and a picture",
        handlers.demo,
    )
    parser.add_argument(
        "--duration-s",
        type=positive,
        metavar="S",
        help="how long to run (120 in a terminal, otherwise 30)",
    )
    parser.add_argument(
        "--fleet",
        action="store_true",
        help="a fleet on three simulated nodes, of which one is killed half way",
    )
    parser.add_argument(
        "--no-browser",
        action="store_true",
        help="do not open the page (by default only in a terminal on a machine with a display)",
    )
    parser.add_argument(
        "--output-dir",
        type=folder,
        default=Path("demo-output"),
        metavar="DIR",
        help="the folder for the video and the picture (demo-output)",
    )
    parser.add_argument("--model", default="nano", help="the checkpoint to use (nano)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")


def _add_run(commands: Subparsers) -> None:
    groups = "".join(
        f"  {group:11}{', '.join(options)}\n" for group, options in config_groups().items()
    )
    parser = command_parser(
        commands,
        "run",
        "run the daemon until SIGINT or SIGTERM",
        handlers.run,
        RUN_EXAMPLES.replace("{groups}", groups),
    )
    _add_configuration(parser)
    parser.add_argument(
        "--fresh",
        action="store_true",
        help="start without the saved state of earlier runs: streams, labels, object memories",
    )
    parser.add_argument(
        "--leased",
        action="store_true",
        help="as a worker of `masklet fleet`, which leases every stream to it",
    )


def _add_configuration(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=path, metavar="FILE", help="a YAML file of your settings")
    parser.add_argument(
        "--stream",
        action="append",
        default=[],
        metavar="ID=URL",
        help="track this camera, file or device; may be given several times",
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="a group's option or a single value"
    )


def _add_small_commands(commands: Subparsers) -> None:
    parser = command_parser(
        commands,
        "keys",
        "make encryption keys for the daemon and its clients",
        handlers.keys,
        KEYS_EXAMPLES,
    )
    parser.add_argument("directory", type=folder, metavar="DIR")
    parser.add_argument(
        "--client",
        action="append",
        default=[],
        metavar="NAME",
        help="a client that may subscribe; delete DIR/clients/NAME.key to revoke it",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace existing keys")
    parser = command_parser(
        commands,
        "doctor",
        "check what this machine has and what is missing",
        handlers.doctor,
        DOCTOR_EXAMPLES,
    )
    _add_configuration(parser)
    command_parser(commands, "version", "print the version", handlers.version)


def _add_checkpoints(commands: Subparsers) -> None:
    parser = command_parser(
        commands,
        "checkpoints",
        "list, download and verify official models, detectors and models of the hub",
        handlers.checkpoints_list,
        CHECKPOINTS_EXAMPLES,
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    command_parser(
        actions,
        "list",
        "list the official files and mark those on this machine",
        handlers.checkpoints_list,
    )
    pull = command_parser(
        actions,
        "pull",
        "download an official file or a model of the hub",
        handlers.checkpoints_pull,
    )
    pull.add_argument(
        "name", metavar="NAME", help="a name printed by masklet checkpoints list, or OWNER/MODEL"
    )
    verify = command_parser(
        actions, "verify", "identify an official file by its SHA-256", handlers.checkpoints_verify
    )
    verify.add_argument("file", type=path, metavar="FILE", help="the file to check")


def _add_bench(commands: Subparsers) -> None:
    parser = command_parser(
        commands,
        "bench",
        "find how many streams and objects this machine can track live",
        bench,
        BENCH_EXAMPLES,
    )
    add_bench_arguments(parser)
    parser.add_argument("--config", type=path, metavar="FILE", help="a YAML file of your settings")
    parser.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="a group's option or a single value"
    )


def _parse(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse; unlike plain argparse, allow KEY=VALUE before, between and after options."""
    parsed, rest = parser.parse_known_args(arguments)
    values = getattr(parsed, "overrides", None)
    if values is None:
        values = getattr(parsed, "settings", None)
    wrong = [each for each in rest if each.startswith("-") or values is None]
    if wrong:
        parsed.own_parser.error(f"unrecognized arguments: {' '.join(wrong)}")
    if values is not None:
        values += rest
    return parsed


def _failed(error: Exception, code: int) -> int:
    for number, line in enumerate(redact(str(error)).split("\n")):
        write_line(f"    {line}" if number else f"masklet: {line}", sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
