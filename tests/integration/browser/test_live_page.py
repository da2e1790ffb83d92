"""The live page in a real browser, with a real daemon and nano: seen, pointed at, compared."""

from __future__ import annotations

from itertools import pairwise
from statistics import fmean

import numpy as np
from playwright.sync_api import Route, expect

from streamer.wire.mask_codecs import MaskEncoding, decode_crop
from tests.conftest import eventually
from tests.integration.browser.conftest import SCENE, Served, Visiting
from tests.integration.browser.live_page import WAIT_S
from tests.integration.webrtc.results import Recording, agreement, matching_player

PLAYER = 3


def test_visitor_publishes_a_camera_and_tracks_a_player_with_one_click(
    served: Served, visiting: Visiting
) -> None:
    with Recording(served.daemon.endpoint) as recording, visiting() as page:
        page.open()
        page.publish("mine")
        expect(page.page).to_have_url(f"{served.http.origin}/#/streams/mine")
        page.wait_for_picture()
        page.click(PLAYER)
        expect(page.rows).to_have_count(1)
        expect(page.notes).to_contain_text("is tracked")
        (row,) = recording.wait_for_frames("mine")[-1].objects
        before = len(recording.frames("mine"))

        # The mask is drawn over this player only, in step with the picture.
        eventually(lambda: page.covered(PLAYER) > 0.3, WAIT_S, "the mask over the player")
        others = [each for each in range(1, 5) if each != PLAYER]
        assert page.covered(PLAYER) > max(page.covered(other) for other in others)
        page.visitor.screenshot("one click")

        # The ZeroMQ results for the same pictures match the true masks of the scene.
        def scores() -> list[float]:
            found = agreement(
                SCENE, recording.frames("mine")[before:], page.numbers_by_frame(), row.id, PLAYER
            )
            return found if len(found) >= 20 else []

        assert fmean(eventually(scores, WAIT_S, "20 results whose pictures were seen")) > 0.4
        known = page.numbers_by_frame()
        compared = [each for each in recording.frames("mine") if each.header.frame_index in known]
        last = compared[-1]
        assert matching_player(SCENE, last, known[last.header.frame_index], row.id) == PLAYER

        # The video moves: its pictures count on.
        numbers = [number for number, _ in page.shown()]
        steps = [(later - earlier) % SCENE.length for earlier, later in pairwise(numbers)]
        assert len(set(numbers)) >= 20
        # On a busy machine pictures are skipped, but none comes again or late.
        assert all(1 <= step < SCENE.length // 2 for step in steps), numbers


def test_preview_first_then_rename_recolour_and_remove(
    served: Served, visiting: Visiting, no_objects: str
) -> None:
    with Recording(served.daemon.endpoint) as recording, visiting() as page:
        page.open(no_objects)
        page.wait_for_picture()
        page.page.get_by_label("Preview first").check()
        page.click(PLAYER)
        bar = page.stage.locator(".stage-bar")
        expect(bar).to_contain_text("Preview of this moment")
        assert served.http.stream(no_objects)["object_ids"] == []
        page.visitor.screenshot("preview")
        bar.get_by_role("button", name="Cancel").click()
        expect(bar).to_be_hidden()
        page.click(PLAYER)
        bar.get_by_role("button", name="Keep").click()
        expect(page.rows).to_have_count(1)
        expect(bar).to_be_hidden()

        page.rows.get_by_role("button").first.click()
        page.rows.get_by_label("Name of object").fill("Nora")
        page.rows.get_by_label("Name of object").press("Enter")
        expect(page.rows.locator(".object-name")).to_have_text("Nora")
        page.rows.get_by_role("button", name="Colour").nth(4).click()
        chosen = page.rows.get_by_role("button", name="Colour").nth(4)
        expect(chosen).to_have_attribute("aria-pressed", "true")
        colour = chosen.get_attribute("data-colour")

        def is_shown() -> bool:
            (entry,) = recording.frames(no_objects)[-1].objects
            return (entry.label, entry.colour) == ("Nora", colour)

        eventually(is_shown, WAIT_S, "the new name and colour in the results")
        page.visitor.screenshot("renamed")

        page.rows.get_by_role("button", name="Remove").click()
        expect(page.rows).to_have_count(0)
        page.notes.get_by_role("button", name="Undo").click()
        expect(page.rows).to_have_count(1)
        page.rows.get_by_role("button").first.click()
        page.rows.get_by_role("button", name="Remove").click()
        eventually(lambda: served.http.stream(no_objects)["object_ids"] == [], WAIT_S)


def test_everything_is_outlined_and_one_of_it_tracked(
    served: Served, visiting: Visiting, no_objects: str
) -> None:
    with visiting() as page:
        page.open(no_objects)
        page.wait_for_picture()
        bar = page.stage.locator(".stage-bar")
        with page.page.expect_response("**/segments", timeout=WAIT_S * 1000) as answered:
            page.page.get_by_role("button", name="What is there?").click()
        expect(bar).to_contain_text("found. Point at one", timeout=WAIT_S * 1000)
        assert served.http.stream(no_objects)["object_ids"] == []
        page.visitor.screenshot("everything")

        # By keyboard: the focus stays on the button, the status names each for a screen reader.
        following = bar.get_by_role("button", name="Next")
        following.focus()
        page.page.keyboard.press("Enter")
        expect(bar.get_by_role("status")).to_contain_text("1 of ")
        page.page.keyboard.press("Enter")
        expect(bar.get_by_role("status")).to_contain_text("2 of ")
        expect(following).to_be_focused()

        # By mouse: what is under it is shown, and a click tracks that.
        mask = answered.value.json()["segments"][0]["mask"]
        crop = decode_crop(mask["counts"].encode(), MaskEncoding.RLE, *mask["size"])
        row, column = np.argwhere(crop)[crop.sum() // 2].tolist()
        x, y = mask["offset"][0] + column, mask["offset"][1] + row
        page.page.mouse.move(*page.place(x, y))
        expect(bar.get_by_role("status")).to_contain_text(" of ")
        page.visitor.screenshot("one of everything")
        page.page.mouse.click(*page.place(x, y))
        expect(page.rows).to_have_count(1)
        page.page.keyboard.press("Escape")
        expect(bar).to_be_hidden()
        eventually(lambda: len(served.http.stream(no_objects)["object_ids"]) == 1, WAIT_S)


def test_a_player_is_followed_with_the_keyboard_alone(
    served: Served, visiting: Visiting, no_objects: str
) -> None:
    with Recording(served.daemon.endpoint) as recording, visiting() as page:
        page.open(no_objects)
        page.wait_for_picture()
        keyboard = page.page.keyboard
        expect(page.stage).to_be_focused()
        page.point_with_keyboard(PLAYER)
        keyboard.press("Enter")
        expect(page.rows).to_have_count(1)
        assert page.followed(recording, no_objects) == PLAYER
        keyboard.press("Shift+Tab")  # anywhere: the letters work on the whole page
        (entry,) = recording.frames(no_objects)[-1].objects
        keyboard.press(str(entry.id))
        keyboard.press("r")
        keyboard.type("Nora")
        keyboard.press("Enter")
        expect(page.rows.locator(".object-name")).to_have_text("Nora")
        keyboard.press("Delete")
        expect(page.rows).to_have_count(0)


def test_a_player_is_followed_by_touch_on_a_small_screen(
    served: Served, visiting: Visiting, no_objects: str
) -> None:
    phone = {"has_touch": True, "is_mobile": True, "viewport": {"width": 390, "height": 780}}
    with Recording(served.daemon.endpoint) as recording, visiting(**phone) as page:
        page.open(no_objects)
        page.wait_for_picture()
        page.page.touchscreen.tap(*page.place_of(PLAYER))
        expect(page.rows).to_have_count(1)
        assert page.followed(recording, no_objects) == PLAYER
        with page.long_press(PLAYER):  # a negative point: not this part of the player
            expect(page.notes).to_contain_text("was corrected")
        width, content = page.page.evaluate(
            "[document.documentElement.clientWidth, document.documentElement.scrollWidth]"
        )
        assert content <= width, "the page is wider than the screen"
        page.visitor.screenshot("phone")


def test_dark_where_the_system_is_dark(visiting: Visiting, no_objects: str) -> None:
    brightness = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3)"
    with visiting(color_scheme="dark") as page:
        page.open(no_objects)
        page.wait_for_picture()
        assert max(map(int, page.page.evaluate(brightness))) < 80
        page.visitor.screenshot("dark")
        page.page.get_by_role("button", name="Colours: as the system").click()
        expect(page.page.get_by_role("button", name="Colours: light")).to_be_visible()
        assert min(map(int, page.page.evaluate(brightness))) > 175


def test_pictures_come_as_jpeg_where_there_is_no_webrtc(
    visiting: Visiting, no_objects: str
) -> None:
    with visiting() as page:
        page.visitor.context.add_init_script("delete window.RTCPeerConnection")
        page.open(no_objects)
        expect(page.stage.locator(".badge")).to_have_text("JPEG")
        read = "frameCounter.read(document.querySelector('#stage canvas.stage-picture'))"
        seen: set[int] = set()

        def moves() -> bool:
            number = page.page.evaluate(read)
            seen.update([] if number is None else [number])
            return len(seen) >= 5

        eventually(moves, WAIT_S, "different pictures")


def test_image_element_shows_the_last_picture_of_a_stream_that_rests(
    served: Served, visiting: Visiting, no_objects: str
) -> None:
    assert served.http.call("POST", f"/v1/streams/{no_objects}/pause").status == 200
    with visiting() as page:
        page.open()
        shown = page.page.evaluate(
            """async (addresses) => {
                const images = addresses.map((src) => Object.assign(new Image(), { src }));
                document.body.append(...images);
                while (images.some((image) => frameCounter.read(image) === null)) {
                    await new Promise(requestAnimationFrame);
                }
                return images.map((image) => frameCounter.read(image));
            }""",
            [
                f"/v1/streams/{no_objects}/{name}"
                for name in ("video.mjpeg", "video.mjpeg?width=200", "snapshot.jpg", "video.mjpeg")
            ],
        )
    assert served.http.call("POST", f"/v1/streams/{no_objects}/resume").status == 200
    assert len(set(shown)) == 1, shown


def test_page_opened_without_the_slash_of_its_prefix_adds_it(
    served: Served, visiting: Visiting
) -> None:
    prefix = f"{served.http.origin}/cameras/masklet"
    asked: list[str] = []

    def strip(route: Route) -> None:
        """Like a proxy that serves the daemon under the prefix, with or without a slash."""
        asked.append(route.request.url)
        if asked[-1].startswith(prefix):
            rest = asked[-1].removeprefix(prefix).lstrip("/")
            route.continue_(url=f"{served.http.origin}/{rest}")
        else:
            route.fulfill(status=204)  # another application of that host

    with visiting() as page:
        page.page.route("**/*", strip)
        page.page.goto(f"{prefix}#/")
        expect(page.page.get_by_role("heading", name="Streams")).to_be_visible()
        expect(page.page).to_have_url(f"{prefix}/#/")
        page.page.goto("about:blank")  # asks nothing more once the proxy is gone
        page.page.unroute_all(behavior="wait")
        calls = [each for each in asked if "/v1/" in each]
        assert calls
        assert [each for each in calls if not each.startswith(f"{prefix}/")] == []


def test_the_wall_shows_every_stream_and_leads_to_each(
    served: Served, visiting: Visiting, no_objects: str
) -> None:
    made = {"id": "second", "url": "synthetic://match?width=320&height=180&rate_hz=5"}
    assert served.http.call("POST", "/v1/streams", made).status == 201
    with visiting() as page:
        page.open()
        tile = page.page.locator(f"[data-stream-id={no_objects}]")
        expect(page.page.get_by_role("link").filter(has_text="second")).to_be_visible()
        page.watch(tile.locator("video"))
        page.visitor.screenshot("wall")
        eventually(
            lambda: len({number for number, _ in page.shown()}) >= 3, WAIT_S, "a tile that moves"
        )
        tile.get_by_role("link").click()
        expect(page.stage).to_be_visible()
    assert served.http.call("DELETE", "/v1/streams/second").status in {200, 204}
