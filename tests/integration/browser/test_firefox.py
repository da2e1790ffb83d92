"""Debian's Firefox: it publishes its camera by WHIP, watches by WHEP and MJPEG, and points."""

from __future__ import annotations

from pathlib import Path

from tests.integration.browser.conftest import Served
from tests.integration.browser.firefox import firefox
from tests.integration.webrtc.results import Recording


def test_firefox_publishes_its_camera_watches_and_tracks_with_a_click(
    served: Served, tmp_path: Path
) -> None:
    with Recording(served.daemon.endpoint) as recording, firefox(tmp_path) as page:
        page.open(f"{served.http.origin}/")
        page.click("#camera:not([hidden])")
        page.evaluate("document.querySelector('#camera-name').value = 'firefox'")
        page.click("dialog[open] button[type=submit]")
        page.wait_for("document.querySelector('#camera').textContent.includes('is live')")
        page.wait_for("document.querySelector('#stage .badge')?.textContent === 'WebRTC'")
        page.evaluate(
            "void (window.shown = instruments.watch(document.querySelector('#stage video')))"
        )
        page.wait_for("shown.length >= 10")
        page.click("#stage")
        page.wait_for("document.querySelectorAll('.object-row').length === 1")
        page.wait_for("/Object \\d+ is tracked/.test(document.querySelector('#notes').textContent)")
        (entry,) = recording.wait_for_frames("firefox", 5)[-1].objects
        page.screenshot("firefox")

        page.evaluate("void (window.image = new Image())")
        page.evaluate("image.src = 'v1/streams/firefox/video.mjpeg?width=320'")
        assert page.wait_for("image.naturalWidth") == 320
        assert page.evaluate("instruments.oddTexts") == []
        assert page.evaluate("instruments.iceServers()") == []
        assert page.complaints == []
    assert served.http.stream("firefox")["object_ids"] == [entry.id]
