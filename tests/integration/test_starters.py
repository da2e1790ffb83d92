"""Objects that start themselves, from a real source to a consumer's socket."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from streamer.app import App
from streamer.cli.ctl.output import starter_text
from streamer.client import Subscriber
from streamer.client.api_client import Access, ApiClient
from streamer.config.starters import StarterConfig
from streamer.config.streams import StreamConfig
from streamer.types import Detection
from streamer.wire.messages import FrameMessage
from tests.integration.test_live_path import SMALL, frames, receive, running, settings, until
from tests.streamer.fakes import FakeTracker, RecordingSink
from tracker import Tracker
from tracker.scenes.match import Match

EXAMPLE = Path(__file__).parents[2] / "deploy" / "examples" / "detections.py"
README = Path(__file__).parents[2] / "docs" / "detectors.md"
SEED, RATE_HZ, WIDTH, HEIGHT, PLAYERS = 10_005, 8, 320, 180, 3
MATCH = (
    f"synthetic://match?seed={SEED}&rate_hz={RATE_HZ}&width={WIDTH}&height={HEIGHT}"
    f"&players={PLAYERS}&occluders=0"
)
FRAMES_TOGETHER = 8


def truth_of(message: FrameMessage, match: Match) -> dict[int, np.ndarray]:
    """The true masks on the message's frame."""
    assert message.header.pts is not None
    return match.render(round(message.header.pts * 1e-6 * RATE_HZ)).masks


async def test_players_that_move_get_ids_by_themselves_and_none_gets_two(tmp_path: Path) -> None:
    starter = StarterConfig(kind="motion", rate_hz=30.0, label="player", minimum_area=0.004)
    config = settings(tmp_path, gate=StreamConfig(url=MATCH, starter=starter))
    app = App(config, tracker=Tracker.from_checkpoint("nano", device="cpu"))

    def enough(seen: list[object]) -> bool:
        objects = [each.objects for each in frames(seen, "gate")]
        return sum(len(each) >= PLAYERS for each in objects) >= FRAMES_TOGETHER

    async with running(app):
        with Subscriber(app.endpoints.zeromq, topics=("frame",)) as subscriber:
            messages = await receive(subscriber, enough)
        state = app.starters.state("gate")
        assert state is not None
        assert state.started >= PLAYERS
    match = Match(SEED, WIDTH, HEIGHT, RATE_HZ, players=PLAYERS, occluders=0)
    overlaps: defaultdict[int, list[float]] = defaultdict(list)
    for message in frames(messages, "gate"):
        true_masks = truth_of(message, match)
        players = {}
        for entry in message.objects:
            assert entry.label == "player"
            mask = message.mask(entry)
            ious = {
                player: float((mask & true).sum() / max((mask | true).sum(), 1))
                for player, true in true_masks.items()
            }
            players[entry.id] = max(ious, key=lambda player: ious[player])
            if entry.id not in overlaps:  # just started: no other object has this player
                assert list(players.values()).count(players[entry.id]) == 1
            overlaps[entry.id].append(ious[players[entry.id]])
    assert len(overlaps) >= PLAYERS
    assert np.mean([np.mean(each) for each in overlaps.values()]) > 0.4


async def test_plain_websockets_start_an_object(
    tmp_path: Path,
) -> None:
    assert not re.search(r"import (streamer|tracker)|from (streamer|tracker)", EXAMPLE.read_text())
    config = settings(
        tmp_path,
        gate=StreamConfig(url=SMALL, starter=StarterConfig(kind="boxes", minimum_hits=2)),
        yard=StreamConfig(url=SMALL),
    )
    app = App(config, tracker=FakeTracker())  # type: ignore[arg-type]
    async with running(app):
        await until(lambda: app.starters.state("gate"))
        assert app.endpoints.api is not None
        api = app.endpoints.api

        def run(stream: str, box: str) -> str:
            command = [sys.executable, str(EXAMPLE), api]
            command += ["--stream", stream, "--box", box, "--label", "ball"]
            finished = subprocess.run(
                command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
            )
            assert finished.returncode == 0, finished.stdout + finished.stderr
            return finished.stdout

        said = await asyncio.to_thread(run, "gate", "0,0,4,3")  # where the fake finds everything
        assert said.count("accepted") == 5
        await until(lambda: app.objects.of("gate"))
        (found,) = app.objects.of("gate")
        assert (found.object_id, found.label) == (1, "ball")
        said = await asyncio.to_thread(run, "yard", "0,0,4,3")
        assert "stream yard takes no boxes: its starter.kind is none, not boxes" in said


def test_contract_page_shows_the_example_unchanged() -> None:
    assert EXAMPLE.read_text() in README.read_text()


async def test_starter_is_changed_and_reported_over_the_api(tmp_path: Path) -> None:
    sink = RecordingSink()
    broken: list[bool] = []

    class Finds:
        def __call__(self, _image: object) -> list[Detection]:
            if broken:
                raise RuntimeError("no camera, no detector")
            return [Detection((0.0, 0.0, 4.0, 3.0), label="ball")]

    config = settings(tmp_path, gate=StreamConfig(url=SMALL))
    app = App(
        config,
        tracker=FakeTracker(),  # type: ignore[arg-type]
        further_sinks=[sink],
        make_detector=lambda _: Finds(),
    )
    async with running(app):
        assert app.endpoints.api is not None
        client = ApiClient(Access(app.endpoints.api))

        def reported() -> dict[str, object]:
            stream: dict[str, object] = client.get("/v1/streams/gate")
            return stream

        def change(**starter: object) -> None:
            client.patch("/v1/streams/gate", {"starter": starter})

        assert (await asyncio.to_thread(reported))["starter"] is None
        sessions = {each.frame.session_id for each in sink.published.results()}
        settings_of_it = {"rate_hz": 30, "minimum_area": 0.0001, "keep_off_border": False}
        await asyncio.to_thread(lambda: change(kind="motion", **settings_of_it))
        await until(lambda: app.objects.of("gate"))
        stream = await asyncio.to_thread(reported)
        starter = stream["starter"]
        assert isinstance(starter, dict)
        assert (starter["kind"], starter["state"], starter["started"]) == ("motion", "looking", 1)
        assert starter["object_ids"] == [1]
        assert starter_text(stream) == "motion: looking, 1 started"
        broken.append(True)
        await until(lambda: app.starters.state("gate").reason)  # type: ignore[union-attr]
        stream = await asyncio.to_thread(reported)
        said = "motion: failing (RuntimeError: no camera, no detector), 1 started"
        assert starter_text(stream) == said
        # The stream does not feel it, and the camera was not connected anew.
        before = len(sink.published.results())
        await until(lambda: len(sink.published.results()) > before + 2)
        after = {each.frame.session_id for each in sink.published.results()}
        assert len(sessions | after) == 1
        await asyncio.to_thread(lambda: change(kind="none"))
        await until(lambda: app.starters.state("gate") is None)
        with pytest.raises(Exception, match=r"starter|rate_hz"):
            await asyncio.to_thread(lambda: change(kind="motion", rate_hz=0))
