"""What a gateway's process loads: it passes on, and needs neither a model nor media."""

from __future__ import annotations

import subprocess
import sys

SERVE_AND_LIST = """
import asyncio, sys
import httpx
import streamer.cli.fleet.gateway, streamer.fleet.gateway.hosted, streamer.fleet.remote_fleet
from streamer.fleet.gateway.config import GatewayConfig
from streamer.fleet.gateway.gateway import Gateway
from streamer.fleet.view import FleetView, Stream, StreamState, WorkerAccess

class Fleet:
    async def access(self):
        return WorkerAccess()

    async def view(self, after=-1, timeout_s=0.0):
        await asyncio.sleep(timeout_s if after == 1 else 0.0)
        waiting = Stream("gate", "rtsp://camera", 5, StreamState.WAITING, None)
        return FleetView("yard", 1, streams=(waiting,))

async def serve():
    values = {"api": {"port": 0}, "zeromq": {"endpoint": "tcp://127.0.0.1:*"}}
    gateway = Gateway(GatewayConfig.read(values, "gateway"), Fleet())
    await gateway.start()
    running = asyncio.create_task(gateway.run())
    async with httpx.AsyncClient(base_url=gateway.endpoint, trust_env=False) as http:
        for path in ("/", "/openapi.json", "/metrics", "/v1/info", "/v1/fleet", "/v1/streams"):
            assert (await http.get(path)).status_code == 200, path
    running.cancel()
    await asyncio.wait({running})
    await gateway.close()

asyncio.run(serve())
print(*sorted({"torch", "torchvision", "av", "aiortc", "hydra"} & sys.modules.keys()))
"""


def test_a_gateway_serves_without_torch_and_av() -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", SERVE_AND_LIST], check=True, capture_output=True, text=True
    )
    assert loaded.stdout.strip() == ""
