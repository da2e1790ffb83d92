"""The manager's decisions against workers, clocks, losses and restarts in any order."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from streamer.errors import ConfigError, ControlError, StreamExistsError
from streamer.fleet.config import FleetStream
from streamer.fleet.decisions import Decisions
from streamer.fleet.fleet_state import Node, ProveDead, Rules, StartWorker
from streamer.fleet.messages import Assigned, Grant, Held, Mode, Report, Task
from streamer.fleet.record import Record

LEASE_S = 10.0
RULES = Rules(LEASE_S, 1.0, 25.0, 64, "1", ((1, 3), (4, 1)))
STREAM = {"url": "synthetic://match"}


@dataclass
class FakeWorker:
    """A worker as it behaves: it tracks while its lease lasts, and ends with its daemon."""

    until_s: float = 0.0
    is_alive: bool = True
    is_ready: bool = False
    seen: int = 0
    wanted: dict[str, Assigned] = field(default_factory=dict)
    held: dict[str, Held] = field(default_factory=dict)

    def tracked(self, now_s: float) -> set[str]:
        if not self.is_alive or now_s >= self.until_s:
            return set()
        return {key for key, each in self.held.items() if each.mode is Mode.RUN}

    def report(self) -> Report:
        return Report(
            kind="machine",
            is_ready=self.is_ready,
            seen=self.seen,
            held=dict(self.held),
            process_group=1 if self.is_ready else None,
        )

    def settle(self, number: int) -> None:
        self.held = {key: each for key, each in self.held.items() if key in self.wanted}
        for key, each in self.wanted.items():
            self.held[key] = Held(each.token, each.revision, each.mode, is_ready=True)
        self.seen = number


class Fleet(RuleBasedStateMachine):
    """Everything may happen at any time; messages arrive late or never."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.term = 1
        self.decisions = Decisions(RULES, Record(), self.term, self.now_s)
        self.kept = msgspec.json.encode(self.decisions.record)
        self.workers: dict[str, FakeWorker] = {}
        self.nodes: set[str] = set()
        self.number: dict[str, int] = {}
        self.proofs: list[ProveDead] = []

    @initialize()
    def begin(self) -> None:
        self.nodes = {"n0", "n1"}
        for index in range(3):
            settings = FleetStream.read(STREAM)
            self.decisions.add(f"s{index}", settings, STREAM)
        self.step()

    @rule()
    def step(self) -> None:
        self.decisions.living([Node(each, f"node-{each}", 1) for each in sorted(self.nodes)])
        for order in self.decisions.step(self.now_s, 0):
            if isinstance(order, StartWorker):
                self.workers[order.worker_id] = FakeWorker()
        self.kept = msgspec.json.encode(self.decisions.record)

    @rule(seconds=st.floats(0.1, 6.0))
    def time_passes(self, seconds: float) -> None:
        self.now_s += seconds

    def some(self, data: st.DataObject, alive: bool = True) -> str | None:
        names = sorted(key for key, each in self.workers.items() if each.is_alive or not alive)
        return data.draw(st.sampled_from(names)) if names else None

    @rule(data=st.data(), late_s=st.floats(0, 3.0))
    def lease(self, data: st.DataObject, late_s: float) -> None:
        """A worker asks; the answer comes later."""
        name = self.some(data)
        if name is None:
            return
        worker, asked_s = self.workers[name], self.now_s
        self.now_s += late_s
        grant: Grant = self.decisions.grant(name, worker.seen, {}, self.now_s)
        if self.now_s >= worker.until_s:
            worker.held = {}  # its guard has ended its daemon, should the lease have run out
        if grant.task is Task.LEAVE:
            worker.is_alive = False
            return
        worker.until_s = asked_s + grant.lease_s
        worker.is_ready = worker.is_ready or grant.task is Task.SERVE
        if grant.streams is not None:
            worker.wanted = grant.streams
            self.number[name] = grant.number

    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        name = self.some(data)
        if name is not None and self.workers[name].is_ready:
            worker = self.workers[name]
            if self.now_s < worker.until_s:
                worker.settle(self.number.get(name, 0))

    @rule(data=st.data())
    def report(self, data: st.DataObject) -> None:
        name = self.some(data)
        if name is not None:
            self.decisions.reported(name, self.workers[name].report(), self.now_s, 0)

    @rule(data=st.data())
    def worker_dies(self, data: st.DataObject) -> None:
        name = self.some(data)
        if name is not None:
            self.workers[name].is_alive = False

    @rule(data=st.data())
    def death_is_noticed(self, data: st.DataObject) -> None:
        name = self.some(data, alive=False)
        if name is not None and not self.workers[name].is_alive:
            for order in self.decisions.died(name, "killed", self.now_s, 0):
                assert isinstance(order, ProveDead)
                self.proofs.append(order)

    @rule()
    def death_is_proved(self) -> None:
        if self.proofs:
            self.decisions.gone(self.proofs.pop().worker_id, self.now_s)

    @rule()
    def manager_is_killed(self) -> None:
        self.term += 1
        record = msgspec.json.decode(self.kept, type=Record)
        self.decisions = Decisions(RULES, record, self.term, self.now_s)
        self.proofs = []

    @rule(node=st.sampled_from(["n0", "n1", "n2"]))
    def node_comes_or_goes(self, node: str) -> None:
        self.nodes ^= {node}

    @rule(stream=st.sampled_from(["s0", "s1", "s2"]))
    def somebody_moves_a_stream(self, stream: str) -> None:
        try:
            self.decisions.move(stream, None)
        except ControlError:
            return

    @rule(stream=st.sampled_from(["s0", "s1", "s2"]))
    def somebody_removes_and_adds_a_stream(self, stream: str) -> None:
        try:
            self.decisions.remove(stream)
        except ControlError:
            try:
                self.decisions.add(stream, FleetStream.read(STREAM), STREAM)
            except StreamExistsError:
                return

    @rule(undo=st.booleans())
    def somebody_drains_a_node(self, undo: bool) -> None:
        try:
            self.decisions.drain("node-n0", undo)
        except ConfigError:
            return

    @invariant()
    def no_stream_is_tracked_twice(self) -> None:
        tracked = [
            stream for worker in self.workers.values() for stream in worker.tracked(self.now_s)
        ]
        assert len(tracked) == len(set(tracked)), tracked

    def teardown(self) -> None:
        """Left alone, with machines, every stream is tracked in the end."""
        self.nodes |= {"n0", "n1", "n2"}
        for name in list(self.decisions.record.draining):
            self.decisions.drain(name, undo=True)
        for _ in range(80):
            self.now_s += 1.0
            self.step()
            for name, worker in self.workers.items():
                if not worker.is_alive:
                    self.decisions.died(name, "killed", self.now_s, 0)
                    continue
                grant = self.decisions.grant(name, worker.seen, {}, self.now_s)
                if self.now_s >= worker.until_s:
                    worker.held = {}
                worker.is_alive = grant.task is not Task.LEAVE
                worker.until_s = self.now_s + grant.lease_s
                worker.is_ready = worker.is_ready or grant.task is Task.SERVE
                if grant.streams is not None:
                    worker.wanted = grant.streams
                    self.number[name] = grant.number
                if worker.is_alive and worker.is_ready:
                    worker.settle(self.number.get(name, 0))
                self.decisions.reported(name, worker.report(), self.now_s, 0)
            self.no_stream_is_tracked_twice()
        there = {stream for each in self.workers.values() for stream in each.tracked(self.now_s)}
        wanted = {key for key, each in self.decisions.streams.items() if not each.record.removed}
        assert there == wanted
        for stream in self.decisions.streams.values():  # no move is left half done
            assert stream.record.worker_id == stream.target


Fleet.TestCase.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
test_no_stream_is_ever_tracked_twice_and_each_is_in_the_end = pytest.mark.timeout(300)(
    Fleet.TestCase
)
