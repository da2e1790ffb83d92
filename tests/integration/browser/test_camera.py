"""The browser that the other tests use: it is there, and its camera shows the scene."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from tests.integration.browser.chromium import chromium, visit
from tests.integration.browser.scene import Scene


def test_camera_shows_the_scene_and_its_numbers_are_read_in_the_page(tmp_path: Path) -> None:
    scene = Scene(turn=10)
    with (
        chromium(scene.write(tmp_path / "scene.y4m")) as browser,
        visit(browser, "http://localhost") as visitor,
    ):
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
            assert set(numbers) <= set(range(scene.length))
            steps = [(b - a) % scene.length for a, b in pairwise(numbers)]
            assert steps.count(1) >= 10, numbers
        assert visitor.page.evaluate("[video.videoWidth, video.videoHeight]") == [640, 360]
        assert visitor.complaints == []
        assert visitor.foreign_requests() == []
