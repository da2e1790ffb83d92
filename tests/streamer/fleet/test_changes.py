"""What the manager decides when load, priorities, nodes and settings change."""

from __future__ import annotations

from dataclasses import replace

from streamer.fleet.config import FleetStream
from streamer.fleet.decisions import Decisions
from streamer.fleet.fleet_state import Node, Order, Rules, StartWorker, WantWorkers
from streamer.fleet.messages import Held, Report, Task
from streamer.fleet.record import Record
from streamer.fleet.view import EventKind, MoveReason, StreamState, WorkerState
from streamer.fleet.viewing import view_of

RULES = Rules(10.0, 1.0, 25.0, 64, "old", ((1, 2),))


class Fleet:
    """Decisions with workers that do at once what is assigned to them."""

    def __init__(self, nodes: int = 2, record: Record | None = None, rules: Rules = RULES) -> None:
        self.decisions = Decisions(rules, record or Record(), 1, 0.0)
        self.nodes = [Node(f"n{index}", f"node-{index}", 1) for index in range(nodes)]
        self.overloaded: set[str] = set()
        self.refused: dict[str, str] = {}
        self.now_s = 0.0
        self.orders: list[Order] = []
        self.most_missing = 0

    def add(self, stream_id: str, priority: int = 5) -> None:
        settings = {"url": "synthetic://match", "priority": priority}
        self.decisions.add(stream_id, FleetStream.read(settings), settings)

    def run(self, seconds: int = 10) -> None:
        for _ in range(seconds):
            self.now_s += 1.0
            self.decisions.living(self.nodes)
            self.orders += self.decisions.step(self.now_s, 0)
            for worker_id, worker in list(self.decisions.workers.items()):
                grant = self.decisions.grant(worker_id, 0, {}, self.now_s)
                if grant.task is Task.LEAVE:
                    self.decisions.died(worker_id, "left", self.now_s, 0)
                    self.decisions.gone(worker_id, self.now_s)
                    continue
                held = {
                    key: Held(
                        each.token,
                        each.revision,
                        each.mode,
                        is_ready=key not in self.refused,
                        refused=self.refused.get(key),
                    )
                    for key, each in worker.assigned.items()
                }
                report = Report(
                    kind="machine",
                    is_ready=grant.task is Task.SERVE,
                    seen=grant.number,
                    held=held,
                    overloaded=worker_id in self.overloaded,
                    process_group=1,
                )
                self.decisions.reported(worker_id, report, self.now_s, 0)
            ready = [each for each in self.decisions.workers.values() if each.was_ready]
            self.most_missing = max(self.most_missing, len(self.nodes) - len(ready))

    def workers(self) -> dict[str, str | None]:
        return {key: each.record.worker_id for key, each in self.decisions.streams.items()}


def test_an_overloaded_worker_gives_its_least_important_stream_away_and_takes_none() -> None:
    fleet = Fleet()
    fleet.add("low", priority=1)
    fleet.add("high", priority=9)
    fleet.nodes = fleet.nodes[:1]
    fleet.run()
    (busy,) = set(fleet.workers().values())
    assert busy is not None
    fleet.nodes = [Node("n0", "node-0", 1), Node("n1", "node-1", 1)]
    fleet.run()
    assert set(fleet.workers().values()) == {busy}  # never moved without need
    fleet.overloaded = {busy}
    fleet.run()
    assert fleet.workers()["high"] == busy
    assert fleet.workers()["low"] != busy
    assert fleet.decisions.record.moves == {MoveReason.OVERLOADED: 1}
    fleet.add("new")
    fleet.run()
    assert fleet.workers()["new"] != busy


def test_streams_without_a_worker_do_not_wait_for_the_end_of_overload() -> None:
    fleet = Fleet(nodes=3)
    for index, stream_id in enumerate("abc"):
        fleet.add(stream_id, priority=index)
    fleet.run()
    lost = fleet.workers()["c"]
    assert lost is not None
    fleet.overloaded = fleet.decisions.workers.keys() - {lost}
    fleet.run(2)
    fleet.nodes = [each for each in fleet.nodes if each.name != fleet.decisions.workers[lost].node]
    fleet.decisions.died(lost, "killed", fleet.now_s, 0)
    fleet.decisions.gone(lost, fleet.now_s)
    fleet.add("new")
    fleet.run(2)
    assert None not in fleet.workers().values()
    assert fleet.workers()["c"] in fleet.overloaded
    before = fleet.workers()
    fleet.run(60)  # nothing goes from one overloaded worker to the other
    assert fleet.workers() == before


def test_a_stream_that_takes_a_whole_worker_gets_one() -> None:
    fleet = Fleet(rules=replace(RULES, headroom=0.9, carried=((1, 1),)))
    for stream_id in "abc":
        fleet.add(stream_id)
    fleet.run()
    assert sorted(map(str, fleet.workers().values())) == ["None", "w1", "w2"]
    assert fleet.orders[-1] == WantWorkers(3)


def test_what_fits_nowhere_waits_for_a_reason_and_the_autoscaler_is_asked() -> None:
    fleet = Fleet(nodes=1)
    for stream_id in "abc":
        fleet.add(stream_id)
    fleet.run()
    view = view_of("fleet", 1, fleet.decisions)
    (waiting,) = (each for each in view.streams if each.state is StreamState.WAITING)
    assert waiting.reason is not None
    assert waiting.reason.startswith("no room: it takes 0.50 of a worker")
    assert EventKind.STREAM_WAITING in [each.kind for each in view.events]
    assert fleet.orders[-1] == WantWorkers(2)
    fleet.nodes.append(Node("n1", "node-1", 1))
    fleet.run()
    assert None not in fleet.workers().values()


def test_a_higher_priority_takes_the_place_of_the_lowest() -> None:
    fleet = Fleet(nodes=1)
    fleet.add("low", priority=1)
    fleet.add("middle", priority=5)
    fleet.run()
    fleet.add("high", priority=9)
    fleet.run()
    there = fleet.workers()
    assert there["high"] is not None
    assert there["middle"] is not None
    assert there["low"] is None
    reasons = [each.reason for each in fleet.decisions.record.events if each.stream_id == "low"]
    assert reasons[-1] == "high of a higher priority took its place"


def test_a_drained_node_is_empty_and_stays_so_until_the_drain_is_undone() -> None:
    fleet = Fleet()
    fleet.add("a")
    fleet.run()
    holder = fleet.workers()["a"]
    assert holder is not None
    node = fleet.decisions.workers[holder].node
    fleet.decisions.drain(node, undo=False)
    fleet.run()
    assert fleet.workers()["a"] not in (holder, None)
    assert node not in {each.node for each in fleet.decisions.workers.values()}
    fleet.decisions.drain(node, undo=True)
    fleet.run()
    assert node in {each.node for each in fleet.decisions.workers.values()}


def test_a_drained_node_keeps_what_fits_nowhere_else() -> None:
    fleet = Fleet()
    for stream_id in "abcd":
        fleet.add(stream_id)
    fleet.run()
    before = fleet.workers()
    fleet.decisions.drain("node-0", undo=False)
    fleet.run()
    assert fleet.workers() == before
    (state,) = (
        each.state for each in view_of("fleet", 1, fleet.decisions).workers if each.node == "node-0"
    )
    assert state is WorkerState.DRAINING
    fleet.decisions.remove("a")
    fleet.decisions.remove("b")
    fleet.run(20)
    assert len({*fleet.workers().values()}) == 1


def test_workers_of_other_settings_are_replaced_one_after_the_other() -> None:
    fleet = Fleet(nodes=3)
    for stream_id in "ab":
        fleet.add(stream_id)
    fleet.run()
    rolled = Fleet(nodes=3, record=fleet.decisions.record, rules=replace(RULES, generation="new"))
    rolled.decisions.term = 2
    rolled.run(1)
    rolled.most_missing = 0
    rolled.run(60)
    assert {each.generation for each in rolled.decisions.workers.values()} == {"new"}
    assert rolled.most_missing == 1
    assert None not in rolled.workers().values()
    assert len([each for each in rolled.orders if isinstance(each, StartWorker)]) == 3
    assert rolled.decisions.record.moves.keys() == {MoveReason.DRAINED}


def test_a_stream_that_cannot_leave_a_drained_node_says_why_once() -> None:
    fleet = Fleet(2)
    fleet.add("a")
    fleet.run()
    holder = fleet.decisions.streams["a"].record.worker_id
    fleet.overloaded = set(fleet.decisions.workers) - {holder}
    fleet.run(2)
    fleet.decisions.drain(fleet.decisions.workers[str(holder)].node, undo=False)
    fleet.run(60)
    (stream,) = view_of("fleet", 1, fleet.decisions).streams
    assert stream.state is StreamState.RUNNING
    assert stream.reason is not None
    assert "they report overload; add a machine" in stream.reason
    events = [each for each in fleet.decisions.record.events if each.worker_id == holder]
    assert [each.kind for each in events].count(EventKind.STREAM_WAITING) == 1
    fleet.overloaded = set()
    fleet.run(90)
    (stream,) = view_of("fleet", 1, fleet.decisions).streams
    assert (stream.worker_id != holder, stream.reason) == (True, None)


def test_a_refused_stream_that_is_tried_again_is_one_event() -> None:
    fleet = Fleet(1)
    fleet.add("a")
    fleet.refused = {"a": "no such camera"}
    fleet.run(300)
    kinds = [each.kind for each in fleet.decisions.record.events]
    assert kinds.count(EventKind.STREAM_REFUSED) == 1
    assert fleet.decisions.streams["a"].reason == "refused: no such camera"
