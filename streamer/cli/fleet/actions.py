"""The actions of ``masklet fleet``: one function each, which returns the exit code."""

from __future__ import annotations

import asyncio
import sys
import time
from argparse import Namespace
from collections.abc import Awaitable, Callable
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Any

import msgspec

from streamer.cli import exit_codes
from streamer.cli.ctl.requests import settings_of
from streamer.cli.fleet.table import table
from streamer.cli.lines import write_line
from streamer.cli.terminal import Terminal
from streamer.errors import FleetError, MaskletError
from streamer.fleet.cluster import connect, end_local, named
from streamer.fleet.config import FleetConfig, load_fleet_config
from streamer.fleet.remote_fleet import RemoteFleet
from streamer.fleet.start import start_manager
from streamer.fleet.view import Fleet, FleetView, Stream, WorkerState

if TYPE_CHECKING:
    from streamer.fleet.gateway.hosted import Addresses

DEFAULT_NAME = "fleet"
_WATCH_S = 1.0
_NEWER_S = 10.0
_NAMED = 8


def up(arguments: Namespace) -> int:
    """Begin the fleet and wait for its first worker."""
    config = load_fleet_config(arguments.config)
    if arguments.name is not None:
        config = config.changed(name=arguments.name)
    is_local = named(arguments.address) is None
    ray = connect(config.name, arguments.address, begin=True)
    start_manager(ray, config)
    gateway = _hosted(ray, config, arguments.config) if is_local else None
    fleet = RemoteFleet(config.name)
    view = asyncio.run(_first_worker(fleet, arguments.timeout_s))
    _show(view, arguments, gateway)
    if not is_local and not arguments.json:
        where = "" if arguments.address is None else f" --address {arguments.address}"
        write_line(
            "its one address, for the page, the API and results, is begun by: masklet fleet gateway"
            f" --name {config.name} --config {arguments.config}{where}"
        )
    return exit_codes.DONE


def _hosted(ray: Any, config: FleetConfig, path: str) -> Addresses:
    """The gateway of a cluster of our own. Raises ``FleetError`` where it cannot begin."""
    from streamer.fleet.gateway.hosted import host_gateway

    try:
        return host_gateway(ray, config.name, config.gateway)
    except MaskletError as error:
        raise FleetError(
            f"fleet {config.name} runs without its gateway: {error}. Correct `gateway` in {path}, "
            "then `masklet fleet up` again"
        ) from error


def status(arguments: Namespace) -> int:
    """Show the fleet, once or until Ctrl-C."""
    is_local = named(arguments.address) is None
    ray = connect(_name(arguments), arguments.address)
    fleet = RemoteFleet(_name(arguments))

    def gateway() -> Addresses | None:
        from streamer.fleet.gateway.hosted import hosted_addresses

        return hosted_addresses(ray, _name(arguments)) if is_local else None

    if not arguments.watch:
        _show(asyncio.run(fleet.view()), arguments, gateway())
        return exit_codes.DONE
    with suppress(KeyboardInterrupt):
        asyncio.run(_watch(fleet, gateway, arguments))
    return exit_codes.DONE


def add(arguments: Namespace) -> int:
    """Want a stream."""
    stream_id, url = arguments.stream
    settings = settings_of([*arguments.settings, f"url={url}"])
    return _changed(arguments, lambda fleet: fleet.add(stream_id, settings), stream_id=stream_id)


def move(arguments: Namespace) -> int:
    """Move a stream."""
    stream_id = arguments.stream_id
    return _changed(
        arguments,
        lambda fleet: fleet.move(stream_id, arguments.worker_id),
        stream_id=stream_id,
    )


def remove(arguments: Namespace) -> int:
    """End a stream."""
    stream_id = arguments.stream_id
    return _changed(
        arguments, lambda fleet: fleet.remove(stream_id), "removed", stream_id=stream_id
    )


def drain(arguments: Namespace) -> int:
    """Empty a node, and wait for that where asked to."""

    async def drained(fleet: RemoteFleet) -> None:
        await fleet.drain(arguments.node, undo=arguments.undo)
        if arguments.wait_s is not None:
            await emptied(fleet, arguments.node, arguments.wait_s)

    done = "takes streams again" if arguments.undo else "is being emptied"
    if arguments.wait_s is not None:
        done = "is empty"
    return _changed(arguments, drained, done, node=arguments.node)


def gateway(arguments: Namespace) -> int:
    """Serve the fleet's one address, until SIGINT or SIGTERM."""
    from streamer.cli.fleet.gateway import gateway_config, serve

    config = FleetConfig() if arguments.config is None else load_fleet_config(arguments.config)
    name = arguments.name or config.name
    own = gateway_config(config.gateway, arguments.settings)
    connect(name, arguments.address)
    return serve(own, RemoteFleet(name), arguments)


def down(arguments: Namespace) -> int:
    """End the fleet, and its cluster if `up` began that."""
    name, is_local = _name(arguments), named(arguments.address) is None
    # Its cluster may not answer any more: with that, all of it ends.
    if not (arguments.force and is_local and end_local(name)):
        fleet = _fleet(arguments)
        asyncio.run(fleet.end() if arguments.force else fleet.down(arguments.timeout_s))
        if is_local:
            end_local(name)
    if arguments.json:
        write_line(msgspec.json.encode({"down": True}).decode())
    return exit_codes.DONE


def _name(arguments: Namespace) -> str:
    name: str = arguments.name or DEFAULT_NAME
    return name


def _fleet(arguments: Namespace) -> RemoteFleet:
    connect(_name(arguments), arguments.address)
    return RemoteFleet(_name(arguments))


def _changed(
    arguments: Namespace,
    change: Callable[[RemoteFleet], Awaitable[None]],
    done: str = "",
    **what: str,
) -> int:
    """Make a change; print what the fleet then says of it, or that it is ``done``."""

    async def made() -> FleetView:
        fleet = _fleet(arguments)
        await change(fleet)
        return await fleet.view()

    view = asyncio.run(made())
    stream = next((each for each in view.streams if each.stream_id == what.get("stream_id")), None)
    if arguments.json:
        write_line(msgspec.json.encode(what if stream is None else stream).decode())
    elif stream is not None:
        where = stream.next_worker_id or stream.worker_id or stream.reason
        write_line(f"{stream.stream_id}: {stream.state}, {where}")
    else:
        write_line(f"{', '.join(what.values())}: {done}")
    return exit_codes.DONE


async def emptied(fleet: Fleet, node: str, wait_s: float) -> None:
    """Wait until no stream is on a node that is being drained, named by a beginning of its name.

    Raises ``FleetError`` for what is there after ``wait_s``.
    """
    deadline_s = time.monotonic() + wait_s
    view = await fleet.view()
    while left := _streams_on(view, node):
        if time.monotonic() > deadline_s:
            ids = ", ".join(each.stream_id for each in left[:_NAMED])
            why = next((f"{each.stream_id}: {each.reason}" for each in left if each.reason), None)
            raise FleetError(
                f"after {wait_s:g} s {len(left)} of the streams are still on {node}: {ids}; "
                f"{why or 'it is still being emptied: `masklet fleet status`'}"
            )
        view = await fleet.view(view.revision, 1.0)


def _streams_on(view: FleetView, node: str) -> list[Stream]:
    whole = {node} if node in view.draining else {n for n in view.draining if n.startswith(node)}
    workers = {each.worker_id for each in view.workers if each.node in whole}
    return [each for each in view.streams if each.worker_id in workers]


async def _first_worker(fleet: RemoteFleet, timeout_s: float) -> FleetView:
    deadline_s = time.monotonic() + timeout_s
    view = await fleet.view()
    while not any(worker.state is WorkerState.READY for worker in view.workers):
        if time.monotonic() > deadline_s:
            last = view.events[-1].reason if view.events else "no event"
            raise FleetError(
                f"no worker is ready after {timeout_s:g} s (last: {last}); the fleet goes on "
                "trying: `masklet fleet status`"
            )
        view = await fleet.view(view.revision, 1.0)
    return view


def _show(view: FleetView, arguments: Namespace, gateway: Addresses | None = None) -> None:
    if arguments.json:
        shown = msgspec.to_builtins(view) | {"gateway": msgspec.to_builtins(gateway)}
        write_line(msgspec.json.encode(shown).decode())
        return
    Terminal(file=sys.stdout).print(table(view))
    if gateway is not None:
        write_line(_reached(gateway))


def _reached(gateway: Addresses) -> str:
    return f"page and API {gateway.page}, results {gateway.results}"


async def _watch(
    fleet: RemoteFleet, gateway: Callable[[], Addresses | None], arguments: Namespace
) -> None:
    """Show each view and the gateway, once a second at most; an error only where it changes."""
    from rich.console import Group
    from rich.live import Live

    terminal = Terminal(file=sys.stdout)
    redraws = terminal.can_redraw and not arguments.json
    view, trouble = await fleet.view(), ""
    with Live(console=terminal, auto_refresh=False) if redraws else nullcontext() as live:
        while True:
            reached = await asyncio.to_thread(gateway)
            if live is None:
                _show(view, arguments, reached)
                sys.stdout.flush()
            else:
                lines = [] if reached is None else [_reached(reached)]
                live.update(Group(table(view), *lines), refresh=True)
            shown = view.revision
            while view.revision == shown:
                await asyncio.sleep(_WATCH_S)
                try:
                    view, trouble = await fleet.view(shown, _NEWER_S), ""
                except FleetError as error:  # the manager is being started again
                    if str(error) != trouble:
                        trouble = str(error)
                        write_line(f"masklet: {error}", sys.stderr)
