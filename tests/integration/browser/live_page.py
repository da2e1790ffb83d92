"""The live page as a person uses it: what can be seen there, and what can be pointed at."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from playwright.sync_api import Locator, Response, WebSocket, expect

from tests.conftest import eventually
from tests.integration.browser.chromium import Visit
from tests.integration.browser.scene import MaskArray, Scene, middle, overlap
from tests.integration.webrtc.results import Recording, matching_player, numbers_by_frame

WAIT_S = 60.0


@dataclass
class Heard:
    """What the daemon sent to the page, by the addresses that the API documents."""

    frames: list[dict[str, Any]] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)

    def socket(self, socket: WebSocket) -> None:
        """A WebSocket was opened: keep its frames."""
        socket.on("framereceived", self._received)

    def response(self, response: Response) -> None:
        """An answer came: keep the RTP offset of a WHEP session."""
        offset = response.headers.get("masklet-rtp-offset")
        if offset is not None:
            self.offsets.append(int(offset))

    def _received(self, payload: str | bytes) -> None:
        message = json.loads(payload)
        if message["type"] == "frame":
            self.frames.append(message)


class LivePage:
    """One stream on the page; ``scene`` is what its camera shows."""

    def __init__(self, visitor: Visit, scene: Scene) -> None:
        self.visitor = visitor
        self.page = visitor.page
        self.scene = scene
        self.heard = Heard()
        self.page.on("websocket", self.heard.socket)
        self.page.on("response", self.heard.response)
        self.stage = self.page.locator("#stage")
        self.video = self.stage.locator("video")
        self.rows = self.page.locator(".object-row")
        self.notes = self.page.locator("#notes")

    # Coming here.

    def open(self, stream_id: str | None = None) -> None:
        """Open the page, at a stream or where it begins."""
        self.page.goto(f"{self.visitor.origin}/{f'#/streams/{stream_id}' if stream_id else ''}")

    def publish(self, stream_id: str) -> None:
        """Press "Use this device's camera" and wait until it is live."""
        self.page.get_by_role("button", name="Use this device's camera").click()
        dialog = self.page.get_by_role("dialog")
        dialog.get_by_label("Name of the stream").fill(stream_id)
        dialog.get_by_role("button", name="Start").click()
        button = self.page.get_by_role("button", name=re.compile("Camera is live"))
        expect(button).to_be_visible(timeout=WAIT_S * 1000)

    def wait_for_picture(self) -> None:
        """Wait until the live video moves, with results in step."""
        self.watch(self.video)
        expect(self.stage).to_have_attribute("data-in-step", "true")
        eventually(lambda: len(self.shown()) >= 3, WAIT_S, "pictures with numbers on the page")

    def watch(self, video: Locator) -> None:
        """From now on ``shown`` returns what this video shows."""
        video.evaluate("(video) => { window.shown = instruments.watch(video); }")

    # What is seen.

    def shown(self) -> list[tuple[int, int]]:
        """Number and RTP time of the pictures that were shown, those with a legible number."""
        pictures = self.page.evaluate("shown.map(([number, rtp]) => [number, rtp])")
        return [(number, rtp) for number, rtp in pictures if number is not None]

    def number(self) -> int:
        """The number of the picture that is on the page now."""
        read = "frameCounter.read(document.querySelector('#stage video'))"

        def legible() -> list[int]:
            number = self.page.evaluate(read)
            return [] if number is None else [number]

        return eventually(legible, WAIT_S, "a legible number")[0]

    def numbers_by_frame(self) -> dict[int, int]:
        """Frame index to picture number, of the pictures shown in the newest WHEP session."""
        return numbers_by_frame(self.shown(), self.heard.offsets[-1], list(self.heard.frames))

    def names(self) -> list[str]:
        """The objects in the list, by name."""
        return self.page.locator(".object-name").all_inner_texts()

    def overlay(self) -> tuple[int | None, MaskArray]:
        """What is drawn over the picture, (H, W) of the scene's size, and the picture's number."""
        number, opacity = self.page.evaluate(
            """([width, height]) => {
                const drawn = document.querySelector("#stage .stage-overlay");
                const ratio = drawn.width / drawn.clientWidth;
                const scale = Math.min(drawn.clientWidth / width, drawn.clientHeight / height);
                const left = (drawn.clientWidth - width * scale) / 2;
                const top = (drawn.clientHeight - height * scale) / 2;
                const canvas = new OffscreenCanvas(width, height);
                const context = canvas.getContext("2d");
                context.drawImage(drawn, left * ratio, top * ratio, width * scale * ratio,
                    height * scale * ratio, 0, 0, width, height);
                const { data } = context.getImageData(0, 0, width, height);
                const opacity = new Uint8Array(width * height);
                for (let i = 0; i < opacity.length; i += 1) opacity[i] = data[4 * i + 3];
                const video = document.querySelector("#stage video");
                let text = "";
                for (const value of opacity) text += String.fromCharCode(value);
                return [frameCounter.read(video), btoa(text)];
            }""",
            [self.scene.width, self.scene.height],
        )
        flat = np.frombuffer(base64.b64decode(opacity), dtype=np.uint8)
        return number, flat.reshape(self.scene.height, self.scene.width) > 50

    def covered(self, player: int) -> float:
        """How well the drawing agrees with a player's true mask, inside its bounding box (IoU).

        Names and trails lie elsewhere or count against it.
        """
        number, drawn = self.overlay()
        if number is None:
            return 0.0
        x0, y0, x1, y1 = self.scene.truth(number).boxes[player]
        mask = self.scene.mask(number, player)
        return overlap(drawn[y0:y1, x0:x1], mask[y0:y1, x0:x1]) if x1 > x0 else 0.0

    # What is done.

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Where pixel (x, y) of the picture lies on the page."""
        box = self.video.bounding_box()
        assert box is not None
        scale = min(box["width"] / self.scene.width, box["height"] / self.scene.height)
        left = box["x"] + (box["width"] - scale * self.scene.width) / 2
        top = box["y"] + (box["height"] - scale * self.scene.height) / 2
        return left + (x + 0.5) * scale, top + (y + 0.5) * scale

    def place_of(self, player: int) -> tuple[float, float]:
        """The current page position of a player: the centre of the visible part."""
        return self.place(*middle(self.scene.mask(self.number(), player)))

    def click(self, player: int) -> None:
        """Click on the current position of a player."""
        self.page.mouse.click(*self.place_of(player))

    @contextmanager
    def long_press(self, player: int) -> Iterator[None]:
        """Keep a finger on a player for as long as the block."""
        x, y = self.place_of(player)
        touch = self.visitor.context.new_cdp_session(self.page)
        event = {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]}
        touch.send("Input.dispatchTouchEvent", event)
        yield
        touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    def point_with_keyboard(self, player: int) -> None:
        """Move the crosshair from the middle of the picture onto a player, by the arrow keys."""
        keyboard = self.page.keyboard
        keyboard.press("ArrowRight")  # the first press shows it
        x, y = middle(self.scene.mask(self.number(), player))
        across, down = x - self.scene.width / 2, y - self.scene.height / 2
        step = self.scene.width / 60
        for distance, backwards, forwards in (
            (across, "ArrowLeft", "ArrowRight"),
            (down, "ArrowUp", "ArrowDown"),
        ):
            for _ in range(round(abs(distance) / step)):
                keyboard.press(forwards if distance > 0 else backwards)

    def followed(self, recording: Recording, stream_id: str) -> int:
        """The player with the true mask that best matches the newest result of the only object."""

        def compared() -> list[int]:
            known = self.numbers_by_frame()
            for message in reversed(recording.frames(stream_id)):
                number = known.get(message.header.frame_index)
                if number is not None and len(message.objects) == 1:
                    (entry,) = message.objects
                    return [matching_player(self.scene, message, number, entry.id)]
            return []

        return eventually(compared, WAIT_S, "a result whose picture was seen")[0]
