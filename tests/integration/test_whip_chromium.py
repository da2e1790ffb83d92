"""Debian's Chromium publishes over WHIP: both codecs, the full size at once, and an ICE restart."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from streamer.app import App
from streamer.config.streams import StreamConfig
from streamer.types import ClockSource, StreamState
from tests.integration.browser.chromium import Visit, chromium, visit
from tests.integration.browser.scene import Scene
from tests.integration.test_live_path import running, settings
from tests.streamer.fakes import FakeTracker, RecordingSink
from tests.streamer.webrtc.waiting import until

SCRIPT = Path(__file__).with_name("whip_publisher.js")
Step = Callable[[Visit], object]


class Page:
    """A page in Chromium, driven by its own thread, from which nothing blocks the daemon."""

    def __init__(self, camera: Path, origin: str) -> None:
        self._camera, self._origin = camera, origin
        self._steps: asyncio.Queue[tuple[Step, asyncio.Future[object]] | None] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self.browsing = asyncio.ensure_future(asyncio.to_thread(self._run))

    def _run(self) -> None:
        with chromium(self._camera) as browser, visit(browser, self._origin) as visitor:
            visitor.context.route(
                f"{self._origin}/blank",
                lambda route: route.fulfill(
                    body="<!doctype html><link rel=icon href=data:>", content_type="text/html"
                ),
            )
            visitor.page.goto(f"{self._origin}/blank")
            visitor.page.add_script_tag(path=SCRIPT)
            while step := asyncio.run_coroutine_threadsafe(self._steps.get(), self._loop).result():
                do, done = step
                outcome = do(visitor)
                self._loop.call_soon_threadsafe(done.set_result, outcome)
            visitor.assert_at_peace()

    async def evaluate(self, script: str, argument: object = None) -> object:
        done: asyncio.Future[object] = self._loop.create_future()
        await self._steps.put((lambda visitor: visitor.page.evaluate(script, argument), done))
        await asyncio.wait({done, self.browsing}, return_when=asyncio.FIRST_COMPLETED)
        if not done.done():
            await self.browsing  # raises what went wrong there
        return done.result()

    async def close(self) -> None:
        await self._steps.put(None)
        await self.browsing


@pytest.mark.parametrize("codec", ["VP8", "H264"])
async def test_chromium_publishes_and_restarts_ice(
    codec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aioice.ice.get_host_addresses", lambda use_ipv4, use_ipv6: ["127.0.0.1"])
    scene = Scene(turn=20)
    camera = scene.write(tmp_path / "scene.y4m")
    sink = RecordingSink()
    config = settings(tmp_path, cam1=StreamConfig(url="whip://"))
    config = config.changed(state_directory="none")
    app = App(config, tracker=FakeTracker(), further_sinks=[sink])  # type: ignore[arg-type]

    def frames() -> int:
        return len(sink.published.results("cam1"))

    async with running(app):
        assert app.endpoints.api is not None
        origin = app.endpoints.api.rstrip("/").replace("127.0.0.1", "localhost")
        page = Page(camera, origin)
        try:
            publish = "([path, codec]) => publish(path, codec)"
            answered = await page.evaluate(publish, ["/v1/streams/cam1/whip", codec])
            assert answered == 201
            await until(lambda: frames() > 0 or page.browsing.done(), "a frame", 60)
            first = sink.published.results("cam1")[0].frame.picture.pixels.rgb()
            assert first.shape == (scene.height, scene.width, 3)
            await until(
                lambda: (
                    sink.published.results("cam1")[-1].frame.picture.clock_source
                    is ClockSource.RTCP_SR
                ),
                "a sender report",
                60,
            )
            before = app.streams.statuses()[0].session_id
            assert await page.evaluate("() => restartIce()") == 200
            count = frames()
            await until(lambda: frames() > count + 30, "frames after the restart", 60)
            status = app.streams.statuses()[0]
            assert status.state is StreamState.LIVE
            assert status.session_id == before
        finally:
            await page.close()
