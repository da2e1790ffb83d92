"""Takes the README's picture of the page: ``python -m tests.integration.browser.readme_picture``.

The match of `masklet demo`, its players clicked and named on the page as a visitor would.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from playwright.sync_api import expect

from streamer.cli.demo import settings as demo
from tests.conftest import eventually
from tests.integration.browser.chromium import chromium, visit
from tests.integration.browser.conftest import serving
from tests.integration.browser.live_page import WAIT_S, LivePage
from tests.integration.browser.scene import Scene, middle
from tracker.scenes import Match

PICTURE = Path(__file__).parents[3] / "deploy" / "media" / "page.png"
NAMES = {1: "Nora", 2: "Amir", 3: "Lena", 4: "Jonas"}
# Charts, trails and the timeline fill meanwhile.
WATCHED_S = 14
LARGEST_BYTES = 300_000


class DemoPage(LivePage):
    """The page of a rendered stream; its pictures carry no number, so results identify them."""

    def __init__(self, visitor, match: Match) -> None:  # type: ignore[no-untyped-def]
        super().__init__(visitor, Scene(match.width, match.height, turn=2))
        self.match = match

    def place_of(self, player: int) -> tuple[float, float]:
        """Where a player is on the picture that is shown now."""

        def shown() -> list[int]:
            index = self.stage.get_attribute("data-frame-index")
            return [
                round(frame["pts"] * frame["time_base"][0] / frame["time_base"][1] * demo.RATE_HZ)
                for frame in self.heard.frames
                if str(frame["frame_index"]) == index
            ]

        number = eventually(shown, WAIT_S, "the result of the picture that is shown")[0]
        return self.place(*middle(self.match.render(number).masks[player]))


def main() -> None:
    """Take the picture and write it."""
    match = Match(
        demo.SEED,
        demo.WIDTH,
        demo.HEIGHT,
        demo.RATE_HZ,
        players=demo.PLAYERS,
        occluders=demo.OCCLUDERS,
        pace=demo.PACE,
    )
    url = (
        f"synthetic://match?seed={demo.SEED}&width={demo.WIDTH}&height={demo.HEIGHT}"
        f"&rate_hz={demo.RATE_HZ}&players={demo.PLAYERS}&occluders={demo.OCCLUDERS}"
        f"&pace={demo.PACE}"
    )
    with (
        TemporaryDirectory() as folder,
        serving(Path(folder), "--stream", f"match={url}") as served,
        chromium() as browser,
        visit(browser, served.http.origin, viewport={"width": 1280, "height": 800}) as visitor,
    ):
        page = DemoPage(visitor, match)
        page.open("match")
        expect(page.stage).to_have_attribute("data-in-step", "true")
        for count, (player, name) in enumerate(NAMES.items(), 1):
            page.click(player)
            expect(page.rows).to_have_count(count)
            row = page.rows.nth(count - 1)
            row.get_by_role("button").first.click()
            row.get_by_label("Name of object").fill(name)
            row.get_by_label("Name of object").press("Enter")
            page.page.keyboard.press("n")
        page.page.wait_for_timeout(1000 * WATCHED_S)
        taken = visitor.screenshot("readme")
    # A palette is enough for what is mostly flat, and keeps the repository small. Largest coverage:
    # the colours of the objects are few pixels, and must not become one another's.
    with Image.open(taken) as picture:
        flat = picture.convert("RGB").quantize(
            256, method=Image.Quantize.MAXCOVERAGE, kmeans=3, dither=Image.Dither.NONE
        )
        flat.save(PICTURE, optimize=True)
    size = PICTURE.stat().st_size
    sys.stdout.write(f"{PICTURE}: {size} bytes\n")
    if size > LARGEST_BYTES:
        sys.exit(f"larger than {LARGEST_BYTES} bytes")


if __name__ == "__main__":
    main()
