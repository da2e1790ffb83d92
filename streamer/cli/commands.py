"""One function for each command: takes the parsed arguments, returns the exit code.

Imports stand inside: a command pays for what it uses, and only some use torch.
"""

from __future__ import annotations

import importlib.metadata
import sys
from argparse import Namespace

from streamer.client.control import ControlClient
from streamer.errors import ControlError
from tracker.types import Prompt


def demo(arguments: Namespace) -> int:
    """``masklet demo``."""
    from streamer.cli.demo.demo import run_demo

    return run_demo(
        duration_s=arguments.duration_s,
        output_directory=arguments.output_dir,
        model=arguments.model,
        device=arguments.device,
        open_browser=not arguments.no_browser,
    )


def run(arguments: Namespace) -> int:
    """``masklet run``."""
    from streamer.cli.daemon import run_daemon
    from streamer.config.loading import load_config

    config = load_config(arguments.config, arguments.overrides, arguments.stream)
    return run_daemon(config, fresh=arguments.fresh)


def watch(arguments: Namespace) -> int:
    """``masklet watch``."""
    from streamer.cli.watch import watch as watch_endpoint

    return watch_endpoint(
        arguments.endpoint,
        stream=arguments.stream,
        as_json=arguments.json,
        count=arguments.count,
        server_key=arguments.server_key,
        client_keys=arguments.client_keys,
    )


def prompt(arguments: Namespace) -> int:
    """``masklet prompt``: prints the object as it was found, or says that it was not."""
    from streamer.inference.prompts.request import read_mask

    given = arguments.point + arguments.not_point
    mask = None if arguments.mask is None else read_mask("--mask", arguments.mask)
    if mask is not None and (given or arguments.box):
        raise ControlError("--mask excludes points and a box: give one or the other")
    if mask is None and not given and arguments.box is None:
        raise ControlError("nothing is pointed at: give --point X,Y, --box X0,Y0,X1,Y1 or --mask")
    wanted = Prompt(
        object_id=arguments.object,
        points_xy=tuple(given),
        point_labels=(1,) * len(arguments.point) + (0,) * len(arguments.not_point),
        box_xyxy=arguments.box,
        mask=mask,
        replace_points=arguments.replace_points,
    )
    with ControlClient(arguments.control) as client:
        found = client.prompt(arguments.stream, wanted, arguments.label, correct=arguments.correct)
    x0, y0, x1, y1 = found.box
    where = f"box {x0},{y0},{x1},{y1}, {found.area} px" if found.visible else "not seen"
    _print(
        f"{arguments.stream}: object {found.object_id} on frame {found.frame_index}: {where}, "
        f"predicted IoU {found.predicted_iou:.2f}"
    )
    return 0


def add(arguments: Namespace) -> int:
    """``masklet add ID=URL``."""
    from streamer.config.loading import parse_stream

    stream_id, url = parse_stream(arguments.stream)
    with ControlClient(arguments.control) as client:
        client.add_stream(stream_id, {"url": url})
    return 0


def remove(arguments: Namespace) -> int:
    """``masklet remove STREAM [--object N]``."""
    with ControlClient(arguments.control) as client:
        if arguments.object is None:
            client.remove_stream(arguments.stream)
        else:
            client.remove(arguments.stream, arguments.object)
    return 0


def streams(arguments: Namespace) -> int:
    """``masklet streams``: a table, or JSON lines."""
    import msgspec
    from rich.table import Table

    from streamer.cli.terminal import Terminal

    with ControlClient(arguments.control) as client:
        summaries = client.streams()
    if arguments.json:
        for summary in summaries:
            _print(msgspec.json.encode(summary).decode())
        return 0
    table = Table(box=None, pad_edge=False)
    for heading in ("stream", "state", "size", "decoded", "tracked", "dropped", "objects", "url"):
        table.add_column(heading)
    for each in summaries:
        table.add_row(
            each.stream_id,
            each.state if each.reason is None else f"{each.state} ({each.reason})",
            f"{each.width}×{each.height}",
            str(each.frames_decoded),
            str(each.frames_tracked),
            str(sum(each.frames_dropped.values())),
            ", ".join(map(str, each.object_ids)) or "-",
            each.url,
        )
    Terminal().print(table, soft_wrap=not sys.stdout.isatty())
    return 0


def stop(arguments: Namespace) -> int:
    """``masklet stop``."""
    with ControlClient(arguments.control) as client:
        client.stop()
    return 0


def keys(arguments: Namespace) -> int:
    """``masklet keys``."""
    from streamer.runtime.curve_keys import keys_command

    for line in keys_command(arguments.directory, arguments.client, arguments.overwrite):
        _print(line)
    return 0


def doctor(arguments: Namespace) -> int:
    """``masklet doctor``."""
    from streamer.cli.doctor.doctor import doctor as examine
    from streamer.cli.terminal import Terminal
    from streamer.config.loading import load_config

    config = load_config(arguments.config, arguments.overrides, arguments.stream)
    return examine(config, Terminal())


def version(_: Namespace) -> int:
    """``masklet version``."""
    _print(f"masklet {importlib.metadata.version('masklet')}")
    return 0


def checkpoints_list(_: Namespace) -> int:
    """``masklet checkpoints list``."""
    from streamer.cli.checkpoints.command import list_checkpoints
    from streamer.cli.terminal import Terminal

    return list_checkpoints(Terminal())


def checkpoints_pull(arguments: Namespace) -> int:
    """``masklet checkpoints pull NAME``."""
    from streamer.cli.checkpoints.command import pull
    from streamer.cli.terminal import Terminal

    return pull(arguments.name, Terminal())


def checkpoints_verify(arguments: Namespace) -> int:
    """``masklet checkpoints verify FILE``."""
    from streamer.cli.checkpoints.command import verify
    from streamer.cli.terminal import Terminal

    return verify(arguments.file, Terminal())


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
