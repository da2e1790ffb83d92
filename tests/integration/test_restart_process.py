"""A killed ``masklet run`` resumes: the same object is found again under its id."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from streamer.cli.demo.film import scene_index
from streamer.cli.demo.settings import starting_boxes
from streamer.client import Subscriber
from streamer.streams.state.store import INDEX
from streamer.wire.messages import FrameMessage
from tests.conftest import eventually
from tests.masklet_process import Daemon, Masklet
from tracker.evaluation.measures import jaccard
from tracker.scenes import Match

RATE_HZ = 5
SCENE = Match(10_007, 640, 360, RATE_HZ, players=4, occluders=0, pace=0.35)
URL = (
    f"synthetic://match?seed=10007&width=640&height=360&rate_hz={RATE_HZ}"
    "&players=4&occluders=0&pace=0.35"
)


def index_of(folder: Path) -> dict[str, Any]:
    """The streams in the index on the disk; empty while there is none."""
    path = folder / INDEX
    return dict(json.loads(path.read_text())["streams"]) if path.exists() else {}


def results(daemon: Daemon, enough: Callable[[list[FrameMessage]], object]) -> list[FrameMessage]:
    """Results until there are enough of them."""
    found: list[FrameMessage] = []
    with Subscriber(daemon.endpoint, topics=("frame",)) as subscriber:
        for message in subscriber:
            if isinstance(message, FrameMessage):
                found.append(message)
                if enough(found):
                    return found
    raise AssertionError("the iteration never ends by itself")


def overlap(message: FrameMessage, object_id: int) -> float:
    """How well an object was found, against the scene's truth."""
    truth = SCENE.render(scene_index(message, RATE_HZ)).masks[object_id]
    (entry,) = (each for each in message.objects if each.id == object_id)
    return float(jaccard(message.mask(entry), truth))


@pytest.fixture
def masklet(tmp_path: Path) -> Masklet:
    return Masklet(tmp_path)


def config_file(folder: Path, objects: list[dict[str, object]]) -> str:
    path = folder / "masklet.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "streams": {"match": {"url": URL, "objects": objects}},
                "state_directory": str(folder / "state"),
            }
        )
    )
    return str(path)


def test_object_keeps_its_id_after_a_kill(masklet: Masklet, tmp_path: Path) -> None:
    first, second = starting_boxes(SCENE)[:2]
    state = tmp_path / "state"
    with masklet.daemon("--config", config_file(tmp_path, [first, second])) as daemon:
        masklet.answers(daemon)
        eventually(
            lambda: len(index_of(state).get("match", {}).get("objects", [])) == 2,
            timeout_s=60,
            what="both objects to be on the disk",
        )
        removed = masklet(
            "remove", "match", "--object", str(second["id"]), "--control", daemon.control
        )
        assert removed.returncode == 0, removed.stderr
        eventually(
            lambda: len(index_of(state)["match"]["objects"]) == 1, what="the removal on the disk"
        )
        daemon.process.send_signal(signal.SIGKILL)
        daemon.process.wait()

    # The file no longer lists objects: tracked objects come from the saved state.
    with masklet.daemon("--config", config_file(tmp_path, [])) as daemon:
        found = results(daemon, lambda seen: len([m for m in seen if m.objects]) >= 8)
        log = daemon.log_file.read_text()
        assert f"object {first['id']} ({first['label']})" in log
        assert {each.id for message in found for each in message.objects} == {first["id"]}
        assert {each.label for message in found for each in message.objects} == {first["label"]}
        overlaps = [overlap(m, int(str(first["id"]))) for m in found if m.objects]
        assert sorted(overlaps)[len(overlaps) // 2] > 0.6, overlaps
        daemon.terminate()
        assert daemon.ended()[0] == 0

    fresh = ("--fresh", "--config", config_file(tmp_path, []))
    with masklet.daemon(*fresh) as daemon:
        masklet.answers(daemon)
        assert "starting fresh" in daemon.log_file.read_text()
        assert results(daemon, lambda seen: len(seen) >= 2)[-1].objects == []
        second_daemon = masklet(
            "run",
            "--config",
            config_file(tmp_path, []),
            "zeromq.endpoint=tcp://127.0.0.1:*",
            "metrics.port=0",
            "api.port=0",
            f"control.endpoint=ipc://{tmp_path}/second.sock",
        )
        assert second_daemon.returncode == 2
        assert "another daemon keeps its state in" in second_daemon.stderr
