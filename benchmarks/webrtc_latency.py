"""Latency over WebRTC on loopback: from the camera to the result, and to the screen.

Chromium publishes the numbered scene of the browser tests as its camera by WHIP to `masklet run`,
and watches the clean picture by WHEP in another window. The number in a picture identifies its
capture time, by the clock of the same browser. A subscriber in this process receives the results
of one tracked player. Browser, daemon and model share the machine.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypedDict

import numpy as np
import psutil

from benchmarks.machine import describe_machine
from benchmarks.results import Result
from tests.conftest import eventually, find_free_port
from tests.integration.browser.chromium import Visit, chromium, visit
from tests.integration.browser.scene import Scene, middle
from tests.integration.webrtc.http_client import HttpClient
from tests.integration.webrtc.results import Recording, ResultsSocket, numbers_by_frame
from tests.masklet_process import Masklet

RATE_HZ = 25
# Bandwidth estimation, first keyframes and lazy initialisation happen before the measurement.
WARM_UP_S = 8.0
PLAYER = 3
PEERS = Path(__file__).parents[1] / "tests" / "integration" / "browser" / "peers.js"


class Age(TypedDict):
    """Milliseconds since the picture was captured."""

    frames: int
    p50_ms: float
    p99_ms: float


class CaptureTimes:
    """Capture times of the numbered pictures; numbers repeat with every turn of the clip."""

    def __init__(self, captured: Sequence[tuple[int | None, float, float]]) -> None:
        """``captured``: number, the camera's own time and the time the page read it, in ms.

        A busy page reads late; the picture read soonest gives the offset between the camera's time
        and Unix time.
        """
        self._times: dict[int, list[float]] = defaultdict(list)
        soonest_ms = min(read_ms - media_ms for _, media_ms, read_ms in captured)
        for number, media_ms, _ in captured:
            if number is not None:
                self._times[number].append(media_ms + soonest_ms)

    def before(self, number: int, time_ms: float) -> float | None:
        """The last capture time of picture ``number`` before ``time_ms``."""
        times = self._times.get(number, [])
        place = bisect_right(times, time_ms)
        return times[place - 1] if place else None

    def ages_ms(self, arrivals: Iterable[tuple[int, float]]) -> list[float]:
        """Age of each picture (number, time in ms), without pictures that were never captured."""
        found = ((self.before(number, time_ms), time_ms) for number, time_ms in arrivals)
        return [time_ms - captured_ms for captured_ms, time_ms in found if captured_ms is not None]


def measure(duration_s: float, checkpoint: str) -> Result:
    """From the camera to the daemon, to a subscriber and to a screen, for ``duration_s``."""
    scene = Scene(rate_hz=RATE_HZ)
    port = find_free_port()
    http = HttpClient(f"http://127.0.0.1:{port}")
    kind = "checkpoint" if checkpoint.endswith((".safetensors", ".pt")) else "name"
    settings = [
        f"api.port={port}",
        "state_directory=none",
        "history.duration_s=5",  # so that the click's frame is still there
        f"model.{kind}={checkpoint}",
        "model.threads=0",  # PyTorch's default, which other tests override
    ]
    with TemporaryDirectory() as folder:
        clip = scene.write(Path(folder) / "scene.y4m")
        with (
            Masklet(Path(folder)).daemon(*settings, "--stream", "camera=whip://") as daemon,
            chromium(clip) as browser,
            visit(browser, http.origin) as publisher,
            visit(browser, http.origin) as viewer,
        ):
            http.wait_until_ready(daemon)
            _open(publisher)
            publisher.page.evaluate("peers.publish('camera')")
            eventually(lambda: http.stream("camera")["frames_tracked"], 60, "the first frame")
            with Recording(daemon.endpoint) as recording, ResultsSocket(http, "camera") as results:
                _open(viewer)
                viewer.page.evaluate("peers.watch('camera').then((it) => (window.watched = it))")
                _follow_player(scene, http, viewer, results)
                time.sleep(WARM_UP_S)
                process = psutil.Process(daemon.process.pid)
                before, begin_ns = http.stream("camera"), time.time_ns()
                used_s = sum(process.cpu_times()[:2])
                time.sleep(duration_s)
                used_s = sum(process.cpu_times()[:2]) - used_s
                after = http.stream("camera")
                shown = viewer.page.evaluate("watched.shown")
                offset = viewer.page.evaluate("watched.offset")
                capture = CaptureTimes(publisher.page.evaluate("instruments.captured"))
                messages = recording.frames("camera")
    numbers = numbers_by_frame(((number, rtp) for number, rtp, _ in shown), offset, results.frames)
    headers = [
        message.header
        for message in messages
        if message.header.frame_index in numbers and message.header.arrival_time_ns > begin_ns
    ]

    def at(stage_ns: Iterable[int]) -> Age:
        return _age(
            capture.ages_ms(
                (numbers[header.frame_index], (header.arrival_time_ns + ns) / 1e6)
                for header, ns in zip(headers, stage_ns, strict=True)
            )
        )

    return {
        "checkpoint": checkpoint,
        "picture": f"{scene.width}x{scene.height}",
        "duration_s": duration_s,
        "arrived": at(0 for _ in headers),
        "started": at(header.stage_times_ns.started for header in headers),
        "published": at(header.stage_times_ns.published for header in headers),
        "shown": _age(
            capture.ages_ms(
                (number, time_ms)
                for number, _, time_ms in shown
                if number is not None and time_ms * 1e6 > begin_ns
            )
        ),
        "decoded": after["frames_decoded"] - before["frames_decoded"],
        "tracked": after["frames_tracked"] - before["frames_tracked"],
        "daemon_cores": used_s / duration_s,
        "machine": describe_machine(),
    }


def _open(visitor: Visit) -> None:
    """Open a page of the daemon's origin that does nothing by itself."""
    visitor.context.add_init_script(path=PEERS)
    visitor.page.goto(f"{visitor.origin}/healthz")


def _follow_player(scene: Scene, http: HttpClient, viewer: Visit, results: ResultsSocket) -> None:
    """Click on a player at its place in a picture that the viewer saw."""

    def known() -> dict[int, int]:
        shown = viewer.page.evaluate("watched.shown.slice(-20)")
        offset = viewer.page.evaluate("watched.offset")
        pairs = ((number, rtp) for number, rtp, _ in shown)
        return numbers_by_frame(pairs, offset, list(results.frames))

    index, number = max(eventually(known, 60, "a picture on the screen").items())
    x, y = middle(scene.mask(number, PLAYER))
    click = {"points": [{"x": x, "y": y, "positive": True}], "frame": {"frame_index": index}}
    answer = http.call("POST", "/v1/streams/camera/objects", click)
    assert answer.status in (200, 201), answer.body


def _age(ages_ms: Sequence[float]) -> Age:
    if not ages_ms:
        raise RuntimeError("no picture could be matched with its capture time")
    p50_ms, p99_ms = np.percentile(ages_ms, [50, 99])
    return Age(frames=len(ages_ms), p50_ms=float(p50_ms), p99_ms=float(p99_ms))


def report(results: Sequence[Result]) -> str:
    """The table, as markdown."""
    lines = [
        "| model | arrived p50 / p99 | step begun p50 / p99 | published p50 / p99 "
        "| on a screen p50 / p99 | tracked | the daemon's cores |",
        "|---|---|---|---|---|---|---|",
    ]
    for result in results:
        ages = " | ".join(
            f"{result[key]['p50_ms']:.0f} / {result[key]['p99_ms']:.0f} ms"
            for key in ("arrived", "started", "published", "shown")
        )
        lines.append(
            f"| {result['checkpoint']} | {ages} | {result['tracked']} of {result['decoded']} | "
            f"{result['daemon_cores']:.2f} |"
        )
    first = results[0]
    return (
        "\n".join(lines)
        + f"\n\nSince the capture of the picture: VP8 {first['picture']} at {RATE_HZ} Hz from "
        + f"Chromium, one object, one viewer, {first['duration_s']:g} s; {first['machine']}"
    )
