"""One function per command: takes the parsed arguments, returns the exit code.

Imports are local: a command loads only what it uses, and only some use torch.
"""

from __future__ import annotations

import importlib.metadata
from argparse import Namespace

from streamer.cli import exit_codes
from streamer.cli.lines import write_line


def demo(arguments: Namespace) -> int:
    """``masklet demo``."""
    if arguments.fleet:
        from streamer.cli.demo.fleet_demo import run_fleet_demo

        return run_fleet_demo(
            arguments.duration_s, arguments.model, arguments.device, not arguments.no_browser
        )
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
    from streamer.cli.startup import begin
    from streamer.config.loading import load_config

    config = load_config(arguments.config, arguments.overrides, arguments.stream)
    if not begin(config):
        return exit_codes.REFUSED
    from streamer.cli.daemon import run_daemon  # with torch: takes seconds

    return run_daemon(config, fresh=arguments.fresh, leased=arguments.leased)


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


def keys(arguments: Namespace) -> int:
    """``masklet keys``."""
    from streamer.cli.keys import make_all_keys

    for line in make_all_keys(arguments.directory, arguments.client, arguments.overwrite):
        write_line(line)
    return 0


def doctor(arguments: Namespace) -> int:
    """``masklet doctor``."""
    from streamer.cli.doctor.doctor import doctor as examine
    from streamer.cli.terminal import Terminal
    from streamer.config.loading import load_config_in_part

    config, faults = load_config_in_part(arguments.config, arguments.overrides, arguments.stream)
    return examine(config, Terminal(), faults)


def version(_: Namespace) -> int:
    """``masklet version``."""
    write_line(f"masklet {importlib.metadata.version('masklet')}")
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
