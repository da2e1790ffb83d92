"""A connection on which a test sends arbitrary bytes, and an API with limits."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from streamer.api.api import Api
from streamer.config.network import ApiConfig, ApiLimitsConfig
from tests.streamer.api.serving import WAIT_S, FakeDaemon, make_api

REQUEST = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Raw:
    """A connection on which a test sends arbitrary bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self) -> tuple[int, dict[str, str]]:
        async with asyncio.timeout(WAIT_S):
            head = await self.reader.readuntil(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        fields = (line.partition(": ") for line in lines if line)
        return int(status.split(" ")[1]), {name.lower(): value for name, _, value in fields}

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        status, headers = await self.head()
        async with asyncio.timeout(WAIT_S):
            body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return status, headers, body

    async def refusal(self, status: int) -> dict[str, Any]:
        found, headers, body = await self.answer()
        assert (found, headers["content-type"]) == (status, "application/problem+json"), body
        document: dict[str, Any] = json.loads(body)
        assert document["status"] == status
        return document

    async def ended(self) -> None:
        """Wait for the end of an answer without a length."""
        async with asyncio.timeout(WAIT_S):
            with contextlib.suppress(ConnectionResetError):
                await self.reader.read()

    async def is_closed(self) -> bool:
        async with asyncio.timeout(WAIT_S):
            try:
                return await self.reader.read() == b""
            except ConnectionResetError:
                return True


@asynccontextmanager
async def raw(client: httpx.AsyncClient, address: str = "127.0.0.1") -> AsyncIterator[Raw]:
    """A connection from ``address`` to the server that ``client`` talks to."""
    reader, writer = await asyncio.open_connection(
        client.base_url.host, client.base_url.port, local_addr=(address, 0)
    )
    try:
        yield Raw(reader, writer)
    finally:
        writer.transport.abort()


def limited(**limits: Any) -> Api:
    return make_api(FakeDaemon("gate"), ApiConfig(port=0, limits=ApiLimitsConfig(**limits)))
