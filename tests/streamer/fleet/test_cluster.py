"""A fleet on a simulated cluster of three nodes: real daemons, killed in every way."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from streamer.client.api_client import Access, ApiClient, ApiError
from streamer.errors import ConfigError, FleetError, StreamExistsError
from streamer.fleet.cluster import OF_NODES
from streamer.fleet.config import FleetConfig
from streamer.fleet.gateway.hosted import end_hosted, host_gateway, hosted_addresses
from streamer.fleet.remote_fleet import RemoteFleet
from streamer.fleet.simulated import add_node
from streamer.fleet.start import start_manager
from streamer.fleet.view import FleetView, MoveReason, Stream, StreamState, WorkerState

LONG_S = 400.0  # nothing waits so long unless the machine stalls
STREAM = {"url": "synthetic://match?width=160&height=96", "max_rate_hz": 2.0}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Three nodes on loopback, each with room for one worker; the first has the manager."""
    for name, value in {
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "disabled",
        **OF_NODES,
        "PYTHONPATH": str(Path(__file__).parents[3]),
    }.items():
        monkeypatch.setenv(name, value)
    made = begun(3)
    yield made
    end(made)


def begun(nodes: int) -> Any:
    """A cluster with a head node, to which this process is connected."""
    import ray
    from ray.cluster_utils import Cluster

    made = Cluster()
    for _ in range(nodes):
        add_node(made, 1)
    ray.init(
        address=made.address,
        namespace="masklet-tested",
        log_to_driver=False,
        logging_level="ERROR",
    )
    return made


def end(made: Any) -> None:
    """End a cluster without a word, the head first: the manager and its workers with it."""
    import ray

    ray.shutdown()
    for node in [made.head_node, *made.worker_nodes]:
        if node is not None:
            made.remove_node(node, allow_graceful=False)


async def until(fleet: RemoteFleet, holds: Callable[[FleetView], bool], what: str) -> FleetView:
    """The first view that ``holds``."""
    deadline_s = time.monotonic() + LONG_S
    view = await fleet.view()
    while not holds(view):
        assert time.monotonic() < deadline_s, f"{what}: {view}"
        view = await fleet.view(view.revision, 1.0)
    return view


def ready(view: FleetView) -> list[str]:
    return [each.worker_id for each in view.workers if each.state is WorkerState.READY]


def stream_of(view: FleetView, stream_id: str) -> Stream:
    return next(each for each in view.streams if each.stream_id == stream_id)


def is_on_another(stream_id: str, former: str | None) -> Callable[[FleetView], bool]:
    def holds(view: FleetView) -> bool:
        stream = stream_of(view, stream_id)
        return stream.state is StreamState.RUNNING and stream.worker_id != former

    return holds


def daemon_of(view: FleetView, worker_id: str | None) -> ApiClient:
    worker = next(each for each in view.workers if each.worker_id == worker_id)
    assert worker.http is not None
    return ApiClient(Access(url=worker.http))


def objects(view: FleetView, stream_id: str) -> list[tuple[int, str, str]]:
    """Those of the newest result, which follows on the stream's first frame here."""
    if stream_of(view, stream_id).state is not StreamState.RUNNING:
        return []
    try:
        answer = daemon_of(view, stream_of(view, stream_id).worker_id).get(
            f"/v1/streams/{stream_id}/objects"
        )
    except ApiError:  # it has left this worker since
        return []
    return [(each["id"], each["label"], each["colour"]) for each in answer["objects"]]


def streams_at_gateway(ray: Any) -> set[str]:
    """Those that the cluster's gateway shows, once it serves."""
    deadline_s = time.monotonic() + LONG_S
    while time.monotonic() < deadline_s:
        addresses = hosted_addresses(ray, "tested")
        if addresses is not None:
            with suppress(OSError, ApiError):  # it was killed since
                answer = ApiClient(Access(url=addresses.page)).get("/v1/streams")
                return {each["id"] for each in answer["streams"]}
    raise AssertionError("the gateway does not serve")


def process_of(ray: Any, actor: str) -> int:
    """The process of a named actor."""
    handle = ray.get_actor(actor, namespace="masklet-tested")
    process: int = ray.get(handle.__ray_call__.remote(lambda _: os.getpid()))
    return process


@pytest.mark.own_process
@pytest.mark.timeout(1200)  # three daemons load torch, several times
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
async def test_streams_outlive_workers_nodes_and_the_manager(
    cluster: Any, checkpoint: Path, tmp_path: Path
) -> None:
    import ray

    config = FleetConfig.read(
        {
            "name": "tested",
            "state": str(tmp_path),
            "worker": {"cpus": 1},
            "capacity": {"carried": {1: 4}},
            "daemon": {
                "model": {"checkpoint": str(checkpoint), "device": "cpu", "threads": 1},
                "tracking": {"max_objects": 8},
            },
            "gateway": {"api": {"port": 0}, "zeromq": {"endpoint": "tcp://127.0.0.1:*"}},
            "streams": {"a": STREAM},
        }
    )
    await asyncio.to_thread(start_manager, ray, config)
    fleet = RemoteFleet("tested")
    await fleet.add("b", STREAM)
    view = await until(fleet, lambda view: len(ready(view)) == 3, "three workers")
    view = await until(fleet, is_on_another("a", None), "a is tracked")
    box = {"box": [20, 20, 60, 60], "label": "keeper", "colour": "#ff8800"}
    daemon_of(view, stream_of(view, "a").worker_id).post("/v1/streams/a/objects", box)
    known = [(1, "keeper", "#ff8800")]

    with pytest.raises(StreamExistsError):
        await fleet.add("a", STREAM)
    with pytest.raises(ConfigError, match="max_rate_hz"):
        await fleet.add("c", {**STREAM, "max_rate_hz": -1})
    with pytest.raises(ConfigError, match="no worker 'w99'"):
        await fleet.move("a", "w99")

    elsewhere = config.changed(state=str(tmp_path / "elsewhere"))
    with pytest.raises(ConfigError, match="state: fleet tested runs with"):
        await asyncio.to_thread(start_manager, ray, elsewhere)

    former = stream_of(view, "a")
    await fleet.move("a")
    view = await until(fleet, is_on_another("a", former.worker_id), "a was moved")
    assert stream_of(view, "a").token > former.token
    view = await until(fleet, lambda view: objects(view, "a") == known, "its objects")

    former = stream_of(view, "a")
    assert former.worker_id is not None
    os.kill(process_of(ray, former.worker_id), signal.SIGKILL)
    view = await until(fleet, is_on_another("a", former.worker_id), "its worker was killed")
    view = await until(fleet, lambda view: objects(view, "a") == known, "its objects")
    assert view.totals.failovers >= 1

    process = process_of(ray, "manager")
    os.kill(process, signal.SIGKILL)
    view = await until(fleet, lambda view: len(ready(view)) == 3, "the manager was killed")
    assert process_of(ray, "manager") != process

    await asyncio.to_thread(host_gateway, ray, "tested", config.gateway)
    assert await asyncio.to_thread(streams_at_gateway, ray) == {"a", "b"}
    os.kill(process_of(ray, "gateway"), signal.SIGKILL)
    assert await asyncio.to_thread(streams_at_gateway, ray) == {"a", "b"}
    await asyncio.to_thread(end_hosted, ray, "tested")
    assert hosted_addresses(ray, "tested") is None

    (node, *_) = cluster.worker_nodes
    worker = next(each for each in view.workers if each.node.endswith(node.node_id[:6]))
    if stream_of(view, "a").worker_id != worker.worker_id:
        await fleet.move("a", worker.worker_id)
    await until(
        fleet,
        lambda view: (
            stream_of(view, "a").worker_id == worker.worker_id
            and stream_of(view, "a").state is StreamState.RUNNING
        ),
        "a is on the node",
    )
    cluster.remove_node(node, allow_graceful=False)
    view = await until(fleet, is_on_another("a", worker.worker_id), "its node was killed")
    view = await until(fleet, lambda view: objects(view, "a") == known, "its objects")

    holder = stream_of(view, "a").worker_id
    (there,) = (each.node for each in view.workers if each.worker_id == holder)
    await fleet.drain(there)
    view = await until(fleet, is_on_another("a", holder), "its node was drained")
    assert view.totals.moves[MoveReason.DRAINED] >= 1
    view = await until(fleet, lambda view: objects(view, "a") == known, "its objects")

    await fleet.remove("b")
    await until(fleet, lambda view: [each.stream_id for each in view.streams] == ["a"], "b ended")

    token = stream_of(view, "a").token
    await asyncio.to_thread(end, cluster)
    another = begun(1)
    try:
        await asyncio.to_thread(start_manager, ray, config)
        view = await until(
            fleet,
            lambda view: (
                stream_of(view, "a").worker_id in ready(view) and objects(view, "a") == known
            ),
            "Ray's head was killed",
        )
        assert stream_of(view, "a").token > token
        assert [each.stream_id for each in view.streams] == ["a"]
        await fleet.down()
        with pytest.raises(FleetError, match="masklet fleet up"):
            await fleet.view()
    finally:
        end(another)
