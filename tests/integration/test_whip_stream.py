"""A published stream in the whole daemon: its objects outlive its publishers."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from streamer.app import App
from streamer.config.control_endpoint import control_path
from streamer.config.network import WebRTCConfig
from streamer.config.streams import StreamConfig
from streamer.types import StreamState
from tests.integration.test_live_path import running, settings, until
from tests.streamer.api.webrtc.publisher import Publisher
from tests.streamer.fakes import FakeTracker, RecordingSink
from tracker import Prompt


@pytest.fixture(autouse=True)
def loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aioice.ice.get_host_addresses", lambda use_ipv4, use_ipv6: ["127.0.0.1"])


def daemon(folder: Path, sink: RecordingSink, **streams: StreamConfig) -> App:
    config = settings(folder, **streams)
    config = config.changed(webrtc=WebRTCConfig(media_timeout_s=2.0), state_directory="none")
    return App(config, tracker=FakeTracker(), further_sinks=[sink])  # type: ignore[arg-type]


def state(app: App, stream_id: str = "cam1") -> StreamState:
    return next(each.state for each in app.streams.statuses() if each.stream_id == stream_id)


async def test_next_publisher_takes_the_stream_and_its_objects_up_again(tmp_path: Path) -> None:
    sink = RecordingSink()
    app = daemon(tmp_path, sink, cam1=StreamConfig(url="whip://"))
    async with running(app):
        assert state(app) is StreamState.CONNECTING
        sessions = set()
        for number, ends in enumerate(("delete", "close", "vanish", "stay")):
            async with Publisher(app.whip) as publisher:
                await publisher.publish()
                await until(lambda: state(app) is StreamState.LIVE)
                if not number:
                    outcome = await app.objects.prompt(
                        "cam1", Prompt(1, box_xyxy=(10, 10, 60, 60)), "player"
                    )
                    assert outcome.applied
                (status,) = app.streams.statuses()
                sessions.add(status.session_id)

                def frames_now(session_id: str | None = status.session_id) -> int:
                    results = sink.published.results("cam1")
                    return sum(each.frame.session_id == session_id for each in results)

                await until(lambda: frames_now() >= 3)
                last = sink.published.results("cam1")[-1]
                assert [(each.track.object_id, each.label) for each in last.objects] == [
                    (1, "player")
                ]
                if ends == "delete":
                    assert (await app.whip.delete(publisher.session_id)).status == 200
                elif ends == "vanish":
                    await publisher.vanish()
                elif ends == "close":
                    await publisher.connection.close()
                if ends != "stay":
                    await until(lambda: state(app) is StreamState.RETRYING)
        assert len(sessions) == 4
        reasons = [event.reason for event in sink.published.events("cam1") if event.reason]
        assert reasons[:3] == ["ended", "ended", "timeout"]
        assert "removed" not in sink.published.event_kinds("cam1")


async def test_publisher_begins_a_stream_that_can_be_removed(tmp_path: Path) -> None:
    app = daemon(tmp_path, RecordingSink())
    async with running(app), Publisher(app.whip, "phone") as publisher:
        await publisher.publish()
        await until(lambda: app.streams.statuses() and state(app, "phone") is StreamState.LIVE)
        assert app.streams.config("phone").url.text == "whip://"
        await app.streams.remove("phone")
        assert (await app.whip.delete(publisher.session_id)).status == 404
        assert not app.streams.statuses()


async def test_stream_of_a_publisher_is_saved_once_control_changed_it(tmp_path: Path) -> None:
    def again() -> App:
        config = settings(tmp_path).changed(
            webrtc=WebRTCConfig(end_created_after_s=1.0), state_directory=str(tmp_path / "state")
        )
        return App(config, tracker=FakeTracker())  # type: ignore[arg-type]

    app = again()
    async with running(app):
        async with Publisher(app.whip, "changed") as first, Publisher(app.whip, "left") as second:
            await first.publish()
            await second.publish()
            transport = httpx.AsyncHTTPTransport(uds=str(control_path(app.config.control.endpoint)))
            async with httpx.AsyncClient(transport=transport, base_url="http://masklet") as owner:
                answer = await owner.patch("/v1/streams/changed", json={"priority": 7})
            assert answer.status_code == 200
        await until(lambda: list(app.streams.configs()) == ["changed"])
        async with Publisher(app.whip, "unsaved") as third:
            await third.publish()
            assert list(app.streams.configs()) == ["changed", "unsaved"]
    app = again()
    async with running(app):
        assert list(app.streams.configs()) == ["changed"]
        assert app.streams.config("changed").priority == 7


async def test_stream_that_gets_another_source_ends_its_publisher(tmp_path: Path) -> None:
    app = daemon(tmp_path, RecordingSink(), cam1=StreamConfig(url="whip://"))
    async with running(app), Publisher(app.whip) as publisher:
        await publisher.publish()
        await until(lambda: state(app) is StreamState.LIVE)
        await app.streams.change(
            "cam1", {"url": "synthetic://match?width=160&height=96&rate_hz=10"}
        )
        assert (await app.whip.delete(publisher.session_id)).status == 404
        await until(lambda: app.streams.statuses()[0].width == 160)


async def test_daemon_stops_during_publishing(tmp_path: Path) -> None:
    app = daemon(tmp_path, RecordingSink(), cam1=StreamConfig(url="whip://"))
    async with Publisher(app.whip) as publisher:
        async with running(app):
            await publisher.publish()
            await until(lambda: state(app) is StreamState.LIVE)
        assert (await app.whip.delete(publisher.session_id)).status == 404
