"""Resident memory of the daemon over time while WebRTC pictures arrive that are not consumed.

Two cameras (aiortc, in this process) publish to a daemon in another process. The model takes a
frame of the first every two seconds; the second is paused, so that its track is not read at all.
A viewer joins the first and never reads. Unread, 640x360 pictures at 30 Hz are 10 MB per second.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from benchmarks.machine import describe_machine
from benchmarks.results import Result
from tests.conftest import eventually, find_free_port
from tests.integration.browser.scene import Scene
from tests.integration.webrtc.http_client import HttpClient
from tests.integration.webrtc.peers import Camera, pictures_of, publishing, watching
from tests.integration.webrtc.slow_daemon import slow_masklet

RATE_HZ = 30
STEP_S = 2.0
# The history of frames, jitter buffers and allocators fill before the measurement.
SETTLED_AFTER_S = 10.0
SAMPLE_S = 1.0
MEBIBYTE = 1 << 20
STREAMS = ("slow", "paused")


def measure(duration_s: float) -> Result:
    """RSS of the daemon in MiB, once per second for ``duration_s`` after it has settled."""
    port = find_free_port()
    http = HttpClient(f"http://127.0.0.1:{port}")
    streams = [word for name in STREAMS for word in ("--stream", f"{name}=whip://")]
    with TemporaryDirectory() as folder:
        masklet = slow_masklet(Path(folder), STEP_S)
        with masklet.daemon(f"api.port={port}", "state_directory=none", *streams) as daemon:
            http.wait_until_ready(daemon)
            process = psutil.Process(daemon.process.pid)
            resident_mib, counts = asyncio.run(_published(http, process, duration_s))
    return {
        "duration_s": duration_s,
        "rate_hz": RATE_HZ,
        "step_s": STEP_S,
        "resident_mib": resident_mib,
        "growth_mib": _level(resident_mib[-20:]) - _level(resident_mib[:20]),
        "decoded": {name: counts[name]["frames_decoded"] for name in STREAMS},
        "tracked": {name: counts[name]["frames_tracked"] for name in STREAMS},
        "dropped": {name: counts[name]["frames_dropped"] for name in STREAMS},
        "machine": describe_machine(),
    }


async def _published(
    http: HttpClient, process: psutil.Process, duration_s: float
) -> tuple[list[float], dict[str, dict[str, object]]]:
    pictures = pictures_of(Scene(rate_hz=RATE_HZ, turn=15))
    resident_mib = []
    async with AsyncExitStack() as stack:
        for name in STREAMS:
            await stack.enter_async_context(publishing(http, name, Camera(pictures, RATE_HZ)))
        for name in STREAMS:
            await asyncio.to_thread(
                eventually, lambda name=name: http.stream(name)["frames_decoded"], 60
            )
        answer = await asyncio.to_thread(http.call, "POST", "/v1/streams/paused/pause")
        assert answer.status in (200, 204), answer.body
        await stack.enter_async_context(watching(http, "slow", "overlay"))
        await asyncio.sleep(SETTLED_AFTER_S)
        end_s = time.monotonic() + duration_s
        while time.monotonic() < end_s:
            resident_mib.append(process.memory_info().rss / MEBIBYTE)
            await asyncio.sleep(SAMPLE_S)
        counts = {name: await asyncio.to_thread(http.stream, name) for name in STREAMS}
    return resident_mib, counts


def _level(samples: Sequence[float]) -> float:
    """The median of some samples: a single one may include a picture in transit."""
    return sorted(samples)[len(samples) // 2]


def report(results: Sequence[Result]) -> str:
    """The table, as markdown."""
    lines = [
        "| time | at the beginning | at the end | growth | decoded (tracked) slow / paused |",
        "|---|---|---|---|---|",
    ]
    for result in results:
        resident = result["resident_mib"]
        decoded = " / ".join(
            f"{result['decoded'][name]} ({result['tracked'][name]})" for name in STREAMS
        )
        lines.append(
            f"| {result['duration_s'] / 60:g} min | {_level(resident[:20]):.0f} MiB "
            f"| {_level(resident[-20:]):.0f} MiB | {result['growth_mib']:+.1f} MiB | {decoded} |"
        )
    return (
        "\n".join(lines)
        + f"\n\nTwo aiortc cameras, 640x360 at {RATE_HZ} Hz, a model with steps of {STEP_S:g} s, "
        + f"one stream paused, one viewer that does not read; {results[0]['machine']}"
    )
