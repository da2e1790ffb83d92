"""``masklet demo --fleet``: three nodes, of which one is killed before the viewer's eyes.

The nodes are simulated on this machine; gateway, page, manager and daemons are the real ones.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

from streamer.cli import exit_codes
from streamer.cli.demo.browser import can_open_page, is_watched, open_page
from streamer.cli.demo.settings import free_port
from streamer.cli.fleet.table import table
from streamer.cli.terminal import Terminal
from streamer.config.schema import MaskletConfig
from streamer.fleet.config import FleetConfig
from streamer.fleet.gateway.config import GatewayConfig
from streamer.fleet.gateway.gateway import Gateway
from streamer.fleet.simulated import SimulatedFleet, busiest, simulated_fleet
from streamer.fleet.view import EventKind, FleetView, StreamState

NODES, STREAMS = 3, 3
WIDTH, HEIGHT, RATE_HZ = 320, 180, 3
PLAYED_S = 60.0  # without --duration-s: half of it before the node is killed
WATCHED_S = 180.0
_TABLE_S = 10.0


def run_fleet_demo(duration_s: float | None, model: str, device: str, open_browser: bool) -> int:
    """Run for ``duration_s`` once every stream runs; 0 if all run again after the fault."""
    if duration_s is None:
        duration_s = WATCHED_S if is_watched(sys.stdout) else PLAYED_S
    console = Terminal(highlight=False)
    page_port = free_port(MaskletConfig().api.port, "the page", console)
    gateway = GatewayConfig.read(
        {"api": {"port": page_port}, "zeromq": {"endpoint": "tcp://127.0.0.1:*"}}, "gateway"
    )
    console.print(f"starting {NODES} simulated nodes: a minute or more on a small machine …")
    with simulated_fleet(_config(model, device), NODES) as simulated:
        try:
            return asyncio.run(_shown(simulated, gateway, duration_s, console, open_browser))
        except KeyboardInterrupt:
            return exit_codes.DONE


async def _shown(
    simulated: SimulatedFleet,
    config: GatewayConfig,
    duration_s: float,
    console: Terminal,
    open_browser: bool,
) -> int:
    gateway = Gateway(config, simulated.fleet)
    await gateway.start()
    serving = asyncio.create_task(gateway.run())
    try:
        console.print(f"page     {gateway.endpoint}   (machines, their load, their streams)")
        console.print(f"results  {gateway.results_endpoint}")
        await simulated.all_running(NODES)
        if open_browser and can_open_page(sys.stdout):
            open_page(gateway.endpoint)
        await _watch(simulated, console, duration_s / 2)
        worker = busiest(view := await simulated.all_running(NODES))
        streams = [each.stream_id for each in view.streams if each.worker_id == worker.worker_id]
        console.print(f"killing node {worker.node} with {', '.join(streams) or 'no stream'}")
        killed_s = time.monotonic()
        await asyncio.to_thread(simulated.kill_node, worker.node)
        view = await simulated.until(
            "the streams of the killed node on another one",
            lambda view: all(
                each.state is StreamState.RUNNING and each.worker_id != worker.worker_id
                for each in view.streams
            ),
        )
        console.print(f"all streams run again after {time.monotonic() - killed_s:.1f} s")
        await _watch(simulated, console, duration_s / 2)
        _say(view, console)
    finally:
        serving.cancel()
        await asyncio.wait({serving})
        await gateway.close()
    return exit_codes.DONE


async def _watch(simulated: SimulatedFleet, console: Terminal, seconds: float) -> None:
    """Print the fleet now and then."""
    end_s = time.monotonic() + seconds
    while (left_s := end_s - time.monotonic()) > 0:
        console.print(table(await simulated.fleet.view()))
        await asyncio.sleep(min(_TABLE_S, left_s))


def _say(view: FleetView, console: Terminal) -> None:
    lost = [each for each in view.events if each.kind is EventKind.WORKER_LOST]
    console.print(f"{len(lost)} worker lost, {view.totals.failovers} streams failed over")


def _config(model: str, device: str) -> FleetConfig:
    half = {"id": 1, "label": "left half", "box": [0, 0, WIDTH // 2, HEIGHT]}
    streams: dict[str, Any] = {
        f"camera-{number + 1}": {
            "url": f"synthetic://match?seed={number}&width={WIDTH}&height={HEIGHT}"
            f"&rate_hz={RATE_HZ}",
            "objects": [half],
        }
        for number in range(STREAMS)
    }
    named = {"checkpoint": str(Path(model).absolute())} if Path(model).suffix else {"name": model}
    settings = {
        "name": "demo",
        "lease_s": 5,
        "worker": {"cpus": 1},
        "capacity": {"carried": {1: 2}, "rate_hz": RATE_HZ, "headroom": 1.0},
        "daemon": {"model": {**named, "device": device, "engine": {"image_size": 256}}},
        "streams": streams,
    }
    return FleetConfig.read(settings, "fleet")
