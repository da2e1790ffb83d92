"""The cost of viewers: processor time of the daemon with none, one and three of one live stream.

A rendered match is tracked by a model that takes no time, at a low rate, so that no frame is lost
and only the number of viewers changes. The result is processor time per picture. The viewers are
aiortc's, in this process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from benchmarks.machine import describe_machine
from benchmarks.results import Result
from tests.conftest import find_free_port
from tests.integration.webrtc.http_client import HttpClient
from tests.integration.webrtc.peers import Session, watching
from tests.integration.webrtc.slow_daemon import slow_masklet

RATE_HZ = 10
FULL_RATE_HZ = 25
VIEWERS = (0, 1, 3)
# Encoders start and the first keyframes pass before the measurement.
WARM_UP_S = 3.0


def measure(width: int, height: int, view: str, duration_s: float) -> Result:
    """Cores in use by the daemon, by number of viewers, each for ``duration_s``."""
    port = find_free_port()
    http = HttpClient(f"http://127.0.0.1:{port}")
    scene = f"synthetic://match?width={width}&height={height}&rate_hz={RATE_HZ}&players=3"
    with TemporaryDirectory() as folder:
        masklet = slow_masklet(Path(folder), 0)
        settings = (f"api.port={port}", "state_directory=none", "--stream", f"match={scene}")
        with masklet.daemon(*settings) as daemon:
            http.wait_until_ready(daemon)
            process = psutil.Process(daemon.process.pid)
            cores, seen = {}, {}
            for viewers in VIEWERS:
                cores[viewers], seen[viewers] = asyncio.run(
                    _watched(http, process, viewers, view, duration_s)
                )
    return {
        "picture": f"{width}x{height}",
        "view": view,
        "duration_s": duration_s,
        "cores": cores,
        "pictures_a_second": seen,
        "machine": describe_machine(),
    }


async def _watched(
    http: HttpClient, process: psutil.Process, viewers: int, view: str, duration_s: float
) -> tuple[float, float]:
    """Cores in use by the daemon, and the pictures per second of a viewer."""
    counts = [0] * viewers
    async with AsyncExitStack() as stack:
        for number in range(viewers):
            session = await stack.enter_async_context(watching(http, "match", view))
            stack.callback(asyncio.create_task(_count(session, counts, number)).cancel)
        await asyncio.sleep(WARM_UP_S)
        used_s, begun = sum(process.cpu_times()[:2]), sum(counts)
        await asyncio.sleep(duration_s)
        used_s, seen = sum(process.cpu_times()[:2]) - used_s, sum(counts) - begun
    return used_s / duration_s, seen / duration_s / max(viewers, 1)


async def _count(session: Session, counts: list[int], number: int) -> None:
    async for _ in session.pictures():
        counts[number] += 1


def report(results: Sequence[Result]) -> str:
    """The table, as markdown."""
    lines = [
        "| picture | view | first viewer, per picture | each further one | one viewer at "
        f"{FULL_RATE_HZ} Hz | pictures per second |",
        "|---|---|---|---|---|---|",
    ]
    for result in results:
        # Results read from their files have strings for keys.
        none, one, three = (result["cores"][key] for key in sorted(result["cores"], key=int))
        rates = [result["pictures_a_second"][key] for key in sorted(result["cores"], key=int)]
        first_ms = 1000 * (one - none) / rates[1]
        further_ms = 1000 * (three - one) / 2 / rates[2]
        lines.append(
            f"| {result['picture']} | {result['view']} | {first_ms:.1f} ms | {further_ms:.1f} ms "
            f"| {first_ms * FULL_RATE_HZ / 1000:.0%} of a core | {rates[1]:.1f}, {rates[2]:.1f} |"
        )
    return (
        "\n".join(lines)
        + "\n\nProcessor time of the daemon's process: drawing, encoding once, and sending; "
        + f"a rendered match at {RATE_HZ} Hz, VP8, {results[0]['duration_s']:g} s each; "
        + str(results[0]["machine"])
    )
