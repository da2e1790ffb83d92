"""A fleet of 10,000 cameras on paper: the solver's simulation, and the sizes of what is sent.

    python -m benchmarks.fleet_scale
    python -m benchmarks.fleet_scale --streams 1000 --carried 25

Nothing runs but the solver, the encoders and the manager's decisions. What a device carries is
given: measure it with `masklet bench`.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from streamer.fleet.config import FleetStream
from streamer.fleet.decisions import Decisions
from streamer.fleet.fleet_state import Node, Rules
from streamer.fleet.messages import Held, Report
from streamer.fleet.placement import Demand, Placement, Room, place
from streamer.fleet.record import Record, StreamRecord, WorkerRecord
from streamer.fleet.viewing import view_of

OBJECTS = 4
WORKERS_PER_NODE = 8
NODES_PER_RACK = 10
HEADROOM = 0.9


def main(arguments: Sequence[str] | None = None) -> None:
    """Print every figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--streams", type=int, default=10_000)
    parser.add_argument("--carried", type=int, default=14, help="streams a worker carries (14)")
    given = parser.parse_args(arguments)
    if given.carried < 2:
        parser.error(f"--carried must be at least 2, of which {HEADROOM:.0%} are used")
    workers = -(-given.streams // int(given.carried * HEADROOM))
    # One rack more than needed: what is lost together must fit elsewhere.
    racks = -(-workers // (WORKERS_PER_NODE * NODES_PER_RACK)) + 1
    rooms = [
        Room(f"w{number}", "gpu", HEADROOM, 64, 1024)
        for number in range(racks * NODES_PER_RACK * WORKERS_PER_NODE)
    ]
    demands = [
        Demand(f"camera-{number}", number % 10, OBJECTS, {"gpu": 1 / given.carried})
        for number in range(given.streams)
    ]
    print(f"{given.streams} streams, a worker carries {given.carried}, {HEADROOM:.0%} used")
    print(f"{workers} workers needed, {len(rooms)} in {racks} racks with one rack to spare")
    demands, seconds = _settled(demands, rooms)
    print(f"all placed: {seconds:.2f} s")
    load = Counter(demand.worker_id for demand in demands)
    print(f"streams on a worker: {min(load.values())} to {max(load.values())}")
    for name, size in (
        ("one worker", 1),
        ("one node", WORKERS_PER_NODE),
        ("one rack", WORKERS_PER_NODE * NODES_PER_RACK),
    ):
        left = rooms[size:]
        gone = {room.worker_id for room in rooms[:size]}
        lost = sum(demand.worker_id in gone for demand in demands)
        again, seconds = _placed(demands, left)
        print(
            f"{name} lost: {lost} streams, {len(again.placed)} placed again in {seconds:.3f} s, "
            f"{len(again.waiting)} wait, {len(again.made_room)} others moved"
        )
    settings = _settings()
    _print_record(demands, rooms, settings)
    _print_manager(given.streams, len(rooms), given.carried, settings)


def _settled(demands: list[Demand], rooms: Sequence[Room]) -> tuple[list[Demand], float]:
    found, seconds = _placed(demands, rooms)
    assert not found.waiting, "there is room for all"
    return [replace(each, worker_id=found.placed[each.stream_id]) for each in demands], seconds


def _placed(demands: Sequence[Demand], rooms: Sequence[Room]) -> tuple[Placement, float]:
    begin_s = time.perf_counter()
    return place(demands, rooms), time.perf_counter() - begin_s


def _settings() -> dict[str, Any]:
    return {
        "url": "rtsp://user:password@camera-00000.site.example.org:554/stream1",
        "priority": 5,
        "max_rate_hz": 25,
        "objects": [
            {"id": number + 1, "label": "person", "box": [100.0, 100.0, 200.0, 300.0]}
            for number in range(OBJECTS)
        ],
    }


def _print_record(
    demands: Sequence[Demand], rooms: Sequence[Room], settings: dict[str, Any]
) -> None:
    """What the manager writes with every change of what is wanted or placed."""
    record = Record(
        {each.stream_id: StreamRecord(settings, 1, each.worker_id, 1 << 33) for each in demands},
        {each.worker_id: WorkerRecord("f" * 56, "node-ffffff", "0.1.0-ffffffff") for each in rooms},
    )
    begin_s = time.perf_counter()
    size = len(msgspec.json.encode(record))
    seconds = time.perf_counter() - begin_s
    print(f"the manager's record: {size / 1e6:.1f} MB, encoded in {seconds * 1e3:.0f} ms")


def _print_manager(streams: int, workers: int, carried: int, settings: dict[str, Any]) -> None:
    """What the manager does again and again while nothing changes, in processor time."""
    rules = Rules(10.0, HEADROOM, 25.0, 1024, "1", ((OBJECTS, carried),))
    decisions = Decisions(rules, Record(), 1, 0.0)
    config = FleetStream.read(settings, "streams.camera")
    for number in range(streams):
        decisions.add(f"camera-{number}", config, settings)
    nodes = range(-(-workers // WORKERS_PER_NODE))
    decisions.living(Node(f"{number}", f"node-{number}", WORKERS_PER_NODE) for number in nodes)
    decisions.step(0.0, 0)
    for now_s in (1.0, 2.0, 3.0):  # ready; placed; running
        _report_all(decisions, now_s)
        decisions.step(now_s, 0)
    costs: dict[str, Callable[[], object]] = {
        "leases of all workers": lambda: [
            decisions.grant(worker_id, worker.number, {}, 3.0)
            for worker_id, worker in decisions.workers.items()
        ],
        "reports of all workers": lambda: _report_all(decisions, 3.0),
        "a step of its decisions": lambda: decisions.step(3.0, 0),
        "a view, encoded": lambda: msgspec.json.encode(view_of("fleet", 1, decisions)),
    }
    running = sum(stream.is_running for stream in decisions.streams.values())
    print(f"the manager, {running} streams running on {len(decisions.workers)} workers:")
    for name, work in costs.items():
        begin_s = time.process_time()
        work()
        print(f"  {name}: {(time.process_time() - begin_s) * 1e3:.0f} ms")


def _report_all(decisions: Decisions, now_s: float) -> None:
    for worker_id, worker in decisions.workers.items():
        held = {
            stream_id: Held(each.token, each.revision, each.mode, True, OBJECTS)
            for stream_id, each in worker.assigned.items()
        }
        report = Report("gpu", is_ready=True, seen=worker.number, held=held, process_group=1)
        content = msgspec.json.encode(report)
        decisions.reported(worker_id, msgspec.json.decode(content, type=Report), now_s, 0)


if __name__ == "__main__":
    main()
