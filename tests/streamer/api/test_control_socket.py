"""The API on its Unix socket: only for the daemon's user, without a token."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest

from streamer.api import api as api_module
from streamer.api.api import Api
from streamer.client import Access, ApiClient, ApiError
from streamer.config.network import ApiConfig, ApiLimitsConfig
from streamer.errors import ConfigError
from streamer.wire.mask_codecs import MaskEncoding, encode_crop
from tests.streamer.api.serving import (
    CONTROL,
    HEIGHT,
    READ,
    WAIT_S,
    WIDTH,
    FakeDaemon,
    bearer,
    make_api,
    problem,
    serving,
    with_tokens,
)
from tracker import Prompt

POINT = {"points": [{"x": 1, "y": 2}]}


@asynccontextmanager
async def owner_of(api: Api, folder: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A client on the socket of an API that is served."""
    transport = httpx.AsyncHTTPTransport(uds=str(folder / "control.sock"))
    async with (
        serving(api),
        httpx.AsyncClient(transport=transport, base_url="http://masklet", timeout=WAIT_S) as client,
    ):
        yield client


async def test_socket_that_was_removed_with_its_folder_is_there_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As systemd removes /run/user/UID when its user logs out."""
    monkeypatch.setattr(api_module, "CONTROL_CHECK_S", 0.01)
    folder = tmp_path / "runtime"
    async with owner_of(make_api(FakeDaemon(), folder=folder), folder) as owner:
        assert (await owner.get("/healthz")).status_code == 200
        descriptors = len(os.listdir("/proc/self/fd"))
        shutil.rmtree(folder)
        async with asyncio.timeout(WAIT_S):
            while not (folder / "control.sock").exists():
                await asyncio.sleep(0.01)
        assert stat.S_IMODE((folder / "control.sock").stat().st_mode) == 0o600
        again = httpx.AsyncHTTPTransport(uds=str(folder / "control.sock"))
        async with httpx.AsyncClient(transport=again, base_url="http://masklet") as client:
            assert (await client.get("/healthz")).status_code == 200
            assert (await owner.get("/healthz")).status_code == 200  # over its open connection
        assert len(os.listdir("/proc/self/fd")) <= descriptors + 1  # the closing connection
    assert "the control socket was removed" in caplog.text
    assert not (folder / "control.sock").exists()


async def test_socket_belongs_to_its_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "runtime"
    async with serving(make_api(FakeDaemon(), folder=folder)):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE((folder / "control.sock").stat().st_mode) == 0o600
    assert not (folder / "control.sock").exists()


async def test_folder_that_others_can_enter_is_refused_with_the_command_that_mends_it(
    tmp_path: Path,
) -> None:
    tmp_path.chmod(0o755)
    api = make_api(FakeDaemon(), folder=tmp_path)
    with pytest.raises(ConfigError, match=f"chmod 700 {tmp_path}"):
        api.bind()
    await api.close(1.0)


async def test_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    api = make_api(FakeDaemon(), folder=tmp_path / "file" / "sub")
    with pytest.raises(ConfigError, match=f"control.endpoint: {tmp_path}/file/sub cannot be"):
        api.bind()
    await api.close(1.0)


async def test_second_daemon_does_not_take_the_socket_of_the_first(tmp_path: Path) -> None:
    async with owner_of(make_api(FakeDaemon(), folder=tmp_path), tmp_path) as owner:
        second = make_api(FakeDaemon(), folder=tmp_path)
        with pytest.raises(ConfigError, match="another process listens there"):
            second.bind()
        await second.close(1.0)
        assert (await owner.get("/v1/streams")).status_code == 200


async def test_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "control.sock").write_text("keep me")
    api = make_api(FakeDaemon(), folder=tmp_path)
    with pytest.raises(ConfigError, match="something else than a socket"):
        api.bind()
    await api.close(1.0)
    assert (tmp_path / "control.sock").read_text() == "keep me"


async def test_leftover_socket_of_a_killed_daemon_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(tmp_path / "control.sock"))
    async with owner_of(make_api(FakeDaemon(), folder=tmp_path), tmp_path) as owner:
        assert (await owner.get("/v1/streams")).status_code == 200


@pytest.mark.parametrize("port", [True, False])
async def test_owner_may_do_everything_without_a_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, port: bool
) -> None:
    """Also where the port is switched off; no host name and no origin is refused."""
    daemon = FakeDaemon("gate")
    config = with_tokens(monkeypatch, enabled=port)
    async with owner_of(make_api(daemon, config, folder=tmp_path), tmp_path) as owner:
        owner.headers["Origin"] = "https://elsewhere.example"
        assert (await owner.get("/v1/info")).json()["scopes"] == ["control", "publish", "read"]
        prompted = await owner.post("/v1/streams/gate/objects/3/prompts", json=POINT)
        assert prompted.status_code == 200
        assert (await owner.delete("/v1/streams/gate")).status_code == 204
        login = await owner.post("/v1/login", headers=bearer(READ))
        assert "set-cookie" not in login.headers


async def test_owner_may_name_files_and_any_host(tmp_path: Path) -> None:
    """Whoever can open the socket can read this user's files anyway."""
    daemon = FakeDaemon()
    async with owner_of(make_api(daemon, folder=tmp_path), tmp_path) as owner:
        added = await owner.post("/v1/streams", json={"id": "yard", "url": "/clip.mp4"})
        assert added.status_code == 201
        changed = await owner.patch("/v1/streams/yard", json={"url": "rtsp://10.0.0.1/"})
        assert changed.status_code == 200
        assert daemon.streams.configs["yard"].url.text == "rtsp://10.0.0.1/"


async def test_prompt_arrives_whole(tmp_path: Path) -> None:
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.bool_)
    mask[3:9, 10:31] = True
    counts = encode_crop(mask, MaskEncoding.RLE).decode()
    daemon = FakeDaemon("gate")
    async with owner_of(make_api(daemon, folder=tmp_path), tmp_path) as owner:
        points = [{"x": 1.5, "y": 2}, {"x": 8, "y": 9, "positive": False}]
        body = {"points": points, "box": [0, 1, 20, 30.5], "replace_points": True}
        answer = await owner.post("/v1/streams/gate/objects/3/prompts", json=body)
        assert (answer.json()["frame_index"], answer.json()["track"]["area"]) == (7, 12)
        body = {"mask": {"size": [HEIGHT, WIDTH], "counts": counts}}
        assert (await owner.post("/v1/streams/gate/objects", json=body)).status_code == 201
    first, second = (prompt for prompt, _ in daemon.objects.prompts)
    assert first == Prompt(3, ((1.5, 2.0), (8, 9)), (1, 0), (0.0, 1.0, 20.0, 30.5), None, True)
    assert np.array_equal(second.mask, mask)


async def test_daemon_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    daemon = FakeDaemon()
    api = make_api(daemon, with_tokens(monkeypatch), folder=tmp_path)
    async with serving(api) as client:
        problem(await client.post("/v1/stop"), 401, "unauthenticated")
        problem(await client.post("/v1/stop", headers=bearer(READ)), 403, "insufficient_scope")
        assert daemon.stops == 0
        answer = await client.post("/v1/stop", headers=bearer(CONTROL))
        assert (answer.status_code, answer.json()) == (202, {"status": "stopping"})
        control = f"ipc://{tmp_path}/control.sock"
        await asyncio.to_thread(ApiClient(Access(control=control)).post, "/v1/stop")
        assert daemon.stops == 2


async def test_owner_is_answered_while_the_port_is_full(tmp_path: Path) -> None:
    daemon = FakeDaemon("gate")
    limits = ApiLimitsConfig(connections=1)
    api = make_api(daemon, ApiConfig(port=0, limits=limits), folder=tmp_path)
    daemon.objects.may_go_on.clear()
    async with owner_of(api, tmp_path) as owner, httpx.AsyncClient(timeout=WAIT_S) as client:
        slow = asyncio.create_task(
            client.post(f"{api.endpoint}/v1/streams/gate/objects", json=POINT)
        )
        async with asyncio.timeout(WAIT_S):
            await daemon.objects.asked.wait()
        problem(await client.get(f"{api.endpoint}/v1/streams"), 503, "busy")
        assert (await owner.get("/v1/streams")).status_code == 200
        daemon.objects.may_go_on.set()
        assert (await slow).status_code == 201


async def test_command_pending_at_shutdown_gets_an_error(tmp_path: Path) -> None:
    daemon = FakeDaemon("gate")
    daemon.objects.may_go_on.clear()
    client = ApiClient(Access(control=f"ipc://{tmp_path}/control.sock"))
    async with serving(make_api(daemon, folder=tmp_path)):
        path = "/v1/streams/gate/objects"
        waiting = asyncio.create_task(asyncio.to_thread(client.post, path, POINT))
        async with asyncio.timeout(WAIT_S):
            await daemon.objects.asked.wait()
    with pytest.raises(ApiError, match="ended the connection without an HTTP answer"):
        await waiting
    daemon.objects.may_go_on.set()
