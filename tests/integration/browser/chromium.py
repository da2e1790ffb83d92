"""Debian's Chromium, headless, with a clip for its camera, and what it did on the network.

A machine without the browser fails these tests instead of skipping them: they are the only ones
that see the live page.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    sync_playwright,
)

EXECUTABLE = os.environ.get("CHROMIUM", "/usr/bin/chromium")
REPOSITORY = Path(__file__).parents[3]
ARTEFACTS = Path(os.environ.get("CI_ARTEFACTS") or REPOSITORY / "artefacts")

# Without these Chromium talks to its maker's servers at every start.
_QUIET = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-domain-reliability",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-gpu",
)
# Loopback is no network that WebRTC uses by itself, and the daemon may be reached by nothing else.
_WEBRTC = ("--allow-loopback-in-peer-connection",)
_FRAME_COUNTER = Path(__file__).with_name("frame_counter.js")
_INSTRUMENTS = Path(__file__).with_name("instruments.js")


@contextmanager
def chromium(camera: Path | None = None, flags: Sequence[str] = ()) -> Iterator[Browser]:
    """A browser; with ``camera`` (a .y4m or .mjpeg clip) pages get that clip from their camera."""
    if not Path(EXECUTABLE).exists():
        pytest.fail(
            f"{EXECUTABLE} is missing: run deploy/install-system-packages deploy/test-packages.txt"
        )
    arguments = [*_QUIET, *_WEBRTC, *flags]
    if camera is not None:
        arguments += [
            "--use-fake-ui-for-media-stream",
            "--use-fake-device-for-media-stream",
            f"--use-file-for-fake-video-capture={camera}",
        ]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            # Its sandbox needs what root and many containers lack; only our own page is opened.
            executable_path=EXECUTABLE,
            args=arguments,
            chromium_sandbox=False,
        )
        try:
            yield browser
        finally:
            browser.close()


class Visit:
    """One page open in a browser, watched: what it asked for and what it complained about."""

    def __init__(self, context: BrowserContext, origin: str) -> None:
        self.context = context
        self.origin = origin
        self.requested: list[Request] = []
        self.complaints: list[str] = []
        self._killed = False
        context.set_default_timeout(60_000)
        context.add_init_script(path=_FRAME_COUNTER)
        context.add_init_script(path=_INSTRUMENTS)
        context.on("request", lambda request: self.requested.append(request))
        context.on("console", self._said)
        context.on("weberror", lambda error: self.complaints.append(str(error.error)))
        self.page: Page = context.new_page()

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning", "assert"}:
            where = message.location.get("url", "")
            if "/v1/whep/" in where and "404" in message.text:
                return  # a goodbye to a session that the daemon has ended already
            self.complaints.append(f"{message.type}: {message.text} ({where})")

    def foreign_requests(self) -> list[str]:
        """Requests to hosts other than the page's own server."""
        own = urlsplit(self.origin).netloc
        return [
            url
            for url in (request.url for request in self.requested)
            if urlsplit(url).scheme not in {"data", "blob"} and urlsplit(url).netloc != own
        ]

    def ice_servers(self) -> list[str]:
        """The STUN and TURN servers that the page would ask; they appear in no request."""
        if self._killed:
            return []
        found: list[str] = self.page.evaluate("instruments.iceServers()")
        return found

    def odd_texts(self) -> list[str]:
        """What the page showed that is no number and no word, such as "NaN %"."""
        if self._killed:
            return []
        found: list[str] = self.page.evaluate("instruments.oddTexts")
        return found

    def kill(self) -> None:
        """Kill the page's process, as if the device had lost its power: no peer is notified.

        All pages of the browser die with it: processes cannot be matched to pages.
        """
        browser = self.context.browser
        assert browser is not None
        processes = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")
        with self.page.expect_event("crash"):
            for process in processes["processInfo"]:
                if process["type"] == "renderer":
                    os.kill(process["id"], signal.SIGKILL)
        self._killed = True

    def assert_at_peace(self) -> None:
        """Assert that the page logged no error, asked its own server only and showed only words
        and numbers."""
        assert not self.complaints, self.complaints
        assert self.foreign_requests() == []
        assert self.ice_servers() == []
        assert not (odd := self.odd_texts()), odd

    def screenshot(self, name: str) -> Path:
        """A picture of the page among the artefacts of this run."""
        path = ARTEFACTS / f"{re.sub('[^a-z0-9-]+', '-', name.lower())}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=path)
        return path


@contextmanager
def visit(browser: Browser, origin: str, **options: object) -> Iterator[Visit]:
    """A page in a fresh profile of ``browser``, not yet opened; ``options`` are the profile's."""
    context = browser.new_context(**options)  # type: ignore[arg-type]
    try:
        yield Visit(context, origin)
    finally:
        context.close()
