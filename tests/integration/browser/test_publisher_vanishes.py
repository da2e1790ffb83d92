"""A camera that vanishes without notice: detected in time, and resumed with its objects.

In a module of its own: the page's process is killed, with whatever else the browser shows.
"""

from __future__ import annotations

from playwright.sync_api import expect

from tests.conftest import eventually
from tests.integration.browser.conftest import MEDIA_TIMEOUT_S, Served, Visiting
from tests.integration.browser.live_page import WAIT_S
from tests.integration.webrtc.results import Recording

PLAYER = 3


def test_vanished_publisher_is_detected_and_resumes_with_its_objects(
    served: Served, visiting: Visiting
) -> None:
    with Recording(served.daemon.endpoint) as recording:
        with visiting() as page:
            page.open()
            page.publish("returning")
            page.wait_for_picture()
            page.click(PLAYER)
            expect(page.rows).to_have_count(1)
            (followed,) = recording.wait_for_frames("returning")[-1].objects
            session = recording.frames("returning")[-1].header.session_id
            page.visitor.kill()
        down = eventually(
            lambda: [e for e in recording.events("returning") if e.kind == "stream_down"], WAIT_S
        )[-1]
        # By the daemon's own clock. Without the watchdog, ICE takes half a minute.
        silent_s = (down.time_ns - recording.frames("returning")[-1].header.arrival_time_ns) / 1e9
        assert silent_s < 5 * MEDIA_TIMEOUT_S
        assert served.http.stream("returning")["object_ids"] == [followed.id]
        with visiting() as page:
            page.open()
            page.publish("returning")
            page.wait_for_picture()
            again = recording.wait_for_frames("returning", 5)[-1]
            assert again.header.session_id != session
            assert [each.id for each in again.objects] == [followed.id]
            expect(page.rows).to_have_count(1)
