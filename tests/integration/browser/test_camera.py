"""The browser that the other tests use: it is there, and its camera shows the scene."""

from __future__ import annotations

from itertools import pairwise

from playwright.sync_api import Browser

from tests.integration.browser.chromium import visit
from tests.integration.browser.conftest import SCENE


def test_camera_shows_the_scene_and_its_numbers_are_read_in_the_page(browser: Browser) -> None:
    with visit(browser, "http://localhost") as visitor:
        visitor.context.route(
            "http://localhost/",
            lambda route: route.fulfill(
                body="<!doctype html><link rel=icon href=data:><video>", content_type="text/html"
            ),
        )
        visitor.page.goto("http://localhost/")
        visitor.page.evaluate(
            """async () => {
                window.video = document.querySelector("video");
                video.muted = true;
                video.srcObject = await navigator.mediaDevices.getUserMedia({ video: true });
                window.shown = instruments.watch(video);
                await video.play();
            }"""
        )
        visitor.page.wait_for_function("shown.length > 15 && instruments.captured.length > 15")
        for numbers in (
            visitor.page.evaluate("shown.map((each) => each[0])"),
            visitor.page.evaluate("instruments.captured.map((each) => each[0])"),
        ):
            assert set(numbers) <= set(range(SCENE.length))
            steps = [(b - a) % SCENE.length for a, b in pairwise(numbers)]
            assert steps.count(1) >= 10, numbers
        assert visitor.page.evaluate("[video.videoWidth, video.videoHeight]") == [640, 360]
        assert visitor.complaints == []
        assert visitor.foreign_requests() == []
