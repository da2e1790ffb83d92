"""The page of a fleet's gateway: its machines, their load and streams, and a picture through it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from streamer.fleet.view import EventKind, FleetEvent, Load, StreamState, Totals, WorkerState
from tests.integration.browser.chromium import visit
from tests.streamer.fleet.gateway.rig import Rig, rigged

WAIT_S = 60.0
MATCH = "synthetic://match?seed=3&width=320&height=192&rate_hz=10"


@dataclass(frozen=True)
class Served:
    """A gateway with its daemons on an event loop of another thread."""

    rig: Rig
    loop: asyncio.AbstractEventLoop

    def do(self, work: Coroutine[Any, Any, object]) -> None:
        """Run on that loop, and wait for the end."""
        asyncio.run_coroutine_threadsafe(work, self.loop).result(WAIT_S)


@contextmanager
def in_thread(serve: Callable[[Future[Served], asyncio.Event], Coroutine[Any, Any, None]]) -> Any:
    ready: Future[Served] = Future()
    stop = asyncio.Event()

    def run() -> None:
        try:
            asyncio.run(serve(ready, stop))
        except BaseException as error:
            if not ready.done():
                ready.set_exception(error)
            raise

    thread = threading.Thread(target=run)
    thread.start()
    served = ready.result(WAIT_S)
    try:
        yield served
    finally:
        served.loop.call_soon_threadsafe(stop.set)
        thread.join()


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """Two workers, three streams; one stream moved, and one waits."""

    async def serve(ready: Future[Served], stop: asyncio.Event) -> None:
        async with rigged(tmp_path, monkeypatch) as rig:
            for stream_id in ("gate", "yard", "roof"):
                await rig.fleet.add(stream_id, {"url": MATCH})
            await rig.fleet.move("yard", "w2")
            await rig.fleet.put_stream(
                "roof", state=StreamState.WAITING, worker_id=None, reason="no worker has room"
            )
            ready.set_result(Served(rig, asyncio.get_running_loop()))
            await stop.wait()

    with in_thread(serve) as served:
        yield served


def test_machines_their_load_and_their_streams_are_shown_and_a_picture_comes_through(
    fleet: Served, browser: Browser
) -> None:
    rig = fleet.rig
    with visit(browser, rig.gateway.endpoint, viewport={"width": 1280, "height": 900}) as visitor:
        page = visitor.page
        page.goto(f"{visitor.origin}/")
        expect(page.locator(".tile")).to_have_count(3)
        expect(page.locator("#about")).to_contain_text("2 workers")
        expect(page.locator(".tile", has_text="roof")).to_contain_text("no worker has room")

        page.get_by_role("link", name="Fleet").click()
        first = page.locator(".node", has_text="node-of-w1")
        expect(first).to_contain_text("25 % of its capacity, 2 objects")
        expect(first.get_by_role("link")).to_have_text(["gate"])
        expect(page.locator(".node", has_text="node-of-w2")).to_contain_text("yard")
        expect(page.locator(".fleet-view")).to_contain_text("Streams that wait (1)")
        expect(page.locator(".figures")).to_contain_text("2 of 3")
        visitor.screenshot("fleet")

        # One machine is looked for; the keyboard's place outlives what changes meanwhile.
        find = page.get_by_role("searchbox")
        find.fill("Yard")
        expect(page.locator(".node")).to_have_count(1)
        find.fill("nowhere")
        expect(page.locator(".nodes")).to_contain_text("nowhere")
        find.fill("")
        gate = first.get_by_role("link", name="gate")
        gate.focus()
        fleet.do(rig.fleet.put_worker("w1", load=Load(0.5, 1, 3)))
        expect(first).to_contain_text("50 % of its capacity, 3 objects")
        expect(gate).to_be_focused()

        # A worker is lost: its stream goes on elsewhere.
        load = Load(0.95, 2, 7, overloaded=True)
        fleet.do(rig.fleet.put_worker("w1", load=load))
        fleet.do(rig.fleet.put_worker("w2", state=WorkerState.LOST))
        fleet.do(rig.fleet.apps["w1"].streams.add_from("yard", {"url": MATCH}))
        fleet.do(rig.fleet.put_stream("yard", worker_id="w1"))
        # The page tells only what happens after its first moments.
        for number in range(7, 67):
            lost = FleetEvent(number, 1, EventKind.WORKER_LOST, None, "w2", "lease_ended")
            fleet.do(rig.fleet.put(events=(lost,), totals=Totals({}, 1, 3.2)))
            with suppress(AssertionError):
                expect(page.locator("#notes")).to_contain_text("worker w2", timeout=1000)
                break
        else:
            pytest.fail("the page did not tell that a worker was lost")
        expect(first.get_by_role("link")).to_have_text(["gate", "yard"])
        expect(first).to_contain_text("overloaded")
        expect(page.locator(".node", has_text="node-of-w2")).to_contain_text("lost")
        expect(page.locator(".figures")).to_contain_text("3.2 s on average")
        visitor.screenshot("fleet with a lost worker")

        first.get_by_role("link", name="yard").click()
        video = page.locator("#stage video")
        expect(video).to_be_visible()
        page.wait_for_function(
            "() => document.querySelector('#stage video').currentTime > 0.5", timeout=WAIT_S * 1000
        )
        visitor.screenshot("fleet stream")
        assert any("/v1/streams/yard/whep" in each.url for each in visitor.requested)
        assert not any("/v1/streams/roof/whep" in each.url for each in visitor.requested)
        # What the page asked for while the stream began on its next worker may be refused.
        odd = [each for each in visitor.complaints if "503" not in each and "closed" not in each]
        assert odd == []
        assert visitor.foreign_requests() == []
        assert visitor.odd_texts() == []


def test_a_phone_shows_the_fleet_without_scrolling_sideways(
    fleet: Served, browser: Browser
) -> None:
    with visit(
        browser,
        fleet.rig.gateway.endpoint,
        viewport={"width": 390, "height": 800},
        color_scheme="dark",
    ) as visitor:
        visitor.page.goto(f"{visitor.origin}/#/fleet")
        expect(visitor.page.locator(".node")).to_have_count(2)
        width = visitor.page.evaluate("document.documentElement.scrollWidth")
        assert width <= 390
        visitor.screenshot("fleet on a phone")
        visitor.assert_at_peace()
