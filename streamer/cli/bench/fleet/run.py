"""``masklet bench --fleet``: a fleet on three nodes simulated on this machine, measured."""

from __future__ import annotations

import asyncio
import json
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

from rich.box import MARKDOWN, SIMPLE_HEAD
from rich.table import Table

from streamer.cli import exit_codes
from streamer.cli.bench.fleet.fault_run import FaultResult, measured_fault
from streamer.cli.bench.fleet.faults import FAULTS
from streamer.cli.bench.fleet.sweep import SweepCell, sweep
from streamer.cli.bench.fleet.tables import fault_table, gateway_table, sweep_table
from streamer.cli.bench.fleet.through_gateway import GatewayCost, measured_gateway
from streamer.cli.bench.fleet.watched import WatchedResults
from streamer.cli.bench.search_run import bench_console, make_output_folder
from streamer.cli.terminal import Terminal
from streamer.config.loading import load_config
from streamer.fleet.config import FleetConfig
from streamer.fleet.retargeting import MAXIMUM_STREAMS
from streamer.fleet.simulated import SimulatedFleet, simulated_fleet
from streamer.runtime.machine import core_count, processor_name

WORKERS = 3
_MARKDOWN_WIDTH = 240


@dataclass(slots=True)
class Measured:
    """What was measured up to now."""

    cells: list[SweepCell] = field(default_factory=list)
    gateway: list[GatewayCost] = field(default_factory=list)
    faults: list[FaultResult] = field(default_factory=list)

    def tables(self) -> list[Table]:
        """Those of what there is."""
        found = []
        if self.cells:
            found.append(sweep_table(self.cells))
        if self.gateway:
            found.append(gateway_table(self.gateway))
        if self.faults:
            found.append(fault_table(self.faults))
        return found

    def exit_code(self) -> int:
        """Failed if a stream was tracked twice or did not come up again."""
        streams = [each for result in self.faults for each in result.streams]
        failed = any(each.tracked_twice or each.up_again_s is None for each in streams)
        return exit_codes.FAILED if failed else exit_codes.DONE


def bench_fleet(arguments: Namespace) -> int:
    """Measure the parts of ``--only``; writes ``fleet.json`` and ``fleet.md``, prints the tables.

    What was measured before Ctrl-C or SIGTERM is printed and kept.
    """
    console = bench_console()
    config = load_config(arguments.config, arguments.overrides, [])
    fleet = fleet_config(arguments, config.model_dump(mode="json", exclude_unset=True))
    make_output_folder(arguments.output_dir)
    console.print(f"starting {WORKERS} simulated nodes …")
    measured = Measured()
    with simulated_fleet(fleet, WORKERS) as simulated:
        watched = WatchedResults()
        try:
            asyncio.run(_measure(simulated, watched, arguments, measured, console))
        finally:
            watched.close()
            for table in measured.tables():
                table.box = SIMPLE_HEAD
                console.print(table)
    return measured.exit_code()


async def _measure(
    simulated: SimulatedFleet,
    watched: WatchedResults,
    arguments: Namespace,
    measured: Measured,
    console: Terminal,
) -> None:
    output, only, rate_hz = arguments.output_dir, arguments.only, arguments.rate_hz
    wanted = wanted_streams(arguments)
    if "sweep" in only:
        console.print("streams on workers …")
        async for cell in sweep(simulated, watched, WORKERS, wanted, rate_hz):
            measured.cells.append(cell)
            _write(output, arguments, measured)
    for stream_id, settings in wanted.items():
        await simulated.fleet.add(stream_id, settings)
    if "gateway" in only:
        console.print("through a gateway …")
        log = output / "gateway.log"
        measured.gateway += await measured_gateway(simulated, WORKERS, log)
        _write(output, arguments, measured)
    for _ in range(arguments.repeats):
        for fault in FAULTS:
            if fault.key in only:
                console.print(f"{fault.name} …")
                result = await measured_fault(simulated, watched, fault, WORKERS, rate_hz)
                measured.faults.append(result)
                _write(output, arguments, measured)


def _write(folder: Path, arguments: Namespace, measured: Measured) -> None:
    content = {
        "machine": f"{processor_name()}, {core_count()} cores",
        "rate_hz": arguments.rate_hz,
        "size": arguments.size,
        "lease_s": arguments.lease_s,
        "overrides": sorted(arguments.overrides),
        **asdict(measured),
    }
    (folder / "fleet.json").write_text(json.dumps(content) + "\n")
    text = StringIO()
    console = Terminal(file=text, width=_MARKDOWN_WIDTH)
    for table in measured.tables():
        table.box = MARKDOWN
        console.print(table)
    lines = text.getvalue().splitlines()
    (folder / "fleet.md").write_text("".join(f"{line.rstrip()}\n" for line in lines))


def wanted_streams(arguments: Namespace) -> dict[str, dict[str, Any]]:
    """Rendered cameras, each with an object of half of the picture."""
    width, height = arguments.size
    return {
        f"s{number}": {
            "url": f"synthetic://match?seed={number}&width={width}&height={height}"
            f"&rate_hz={arguments.rate_hz:g}",
            "objects": [{"id": 1, "label": "half", "box": [0, 0, width // 2, height]}],
        }
        for number in range(arguments.fleet_streams)
    }


def fleet_config(arguments: Namespace, daemon: Mapping[str, Any]) -> FleetConfig:
    """A fleet of which each worker has room for all streams, or as many as a daemon takes."""
    capacity = {
        "carried": {1: min(arguments.fleet_streams, MAXIMUM_STREAMS)},
        "rate_hz": arguments.rate_hz,
        "headroom": 1.0,
    }
    settings = {
        "name": "bench",
        "lease_s": arguments.lease_s,
        "worker": {"cpus": 1},
        "capacity": capacity,
        "daemon": daemon,
    }
    return FleetConfig.read(settings, "fleet")
