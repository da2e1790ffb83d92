"""``masklet ctl``: what it sends, prints and refuses, against the real HTTP server."""

from __future__ import annotations

import asyncio
import io
import json
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from streamer.app import App
from streamer.cli.ctl.output import print_event
from streamer.cli.ctl.requests import settings_of
from streamer.cli.main import main
from streamer.client.api_client import ServerEvent
from streamer.config.network import TokenConfig
from streamer.config.streams import StreamConfig
from streamer.errors import ConfigError
from tests.integration.test_live_path import SMALL, running, settings, until
from tests.streamer.fakes import FakeTracker
from tests.streamer.http_fixture import one_answer
from tracker import Prompt


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


def run_main(*arguments: str) -> Result:
    """One at a time: standard output is the whole process's."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = main(arguments)
        except SystemExit as stopped:
            code = int(stopped.code or 0)
    return Result(code, out.getvalue(), err.getvalue())


class Rig:
    """A daemon with one stream, and ``masklet ctl`` for it."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.url = str(app.endpoints.api)

    async def __call__(self, *arguments: str) -> Result:
        return await asyncio.to_thread(run_main, "ctl", "--url", self.url, *arguments)

    async def said(self, *arguments: str) -> str:
        result = await self(*arguments)
        assert (result.code, result.err) == (0, "")
        return result.out

    async def json(self, *arguments: str) -> Any:
        return [json.loads(line) for line in (await self.said(*arguments, "--json")).splitlines()]

    async def refused(self, *arguments: str, code: int = 1) -> str:
        result = await self(*arguments)
        assert result.code == code, result
        assert result.out == ""
        assert result.err.startswith("masklet: ")
        assert result.err.count("\n") == 1
        return result.err.removeprefix("masklet: ").strip()


@asynccontextmanager
async def daemon(folder: Path, tokens: Sequence[TokenConfig] = ()) -> AsyncIterator[Rig]:
    config = settings(folder, gate=StreamConfig(url=SMALL))
    config = config.changed(api=config.api.changed(tokens=list(tokens)))
    app = App(config, tracker=FakeTracker())  # type: ignore[arg-type]
    async with running(app):
        await until(lambda: app.streams.statuses()[0].frames_tracked)
        yield Rig(app)


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COLUMNS", "40")  # tables are not cut to it
    monkeypatch.delenv("MASKLET_URL", raising=False)
    monkeypatch.delenv("MASKLET_TOKEN", raising=False)
    monkeypatch.chdir(tmp_path)


async def test_streams_are_listed_added_changed_paused_and_removed(tmp_path: Path) -> None:
    async with daemon(tmp_path) as ctl:
        listed = await ctl.said("streams", "list")
        assert listed.split()[:10] == [
            "stream", "state", "size", "decoded", "tracked", "dropped", "objects", "priority",
            "starter", "url",
        ]  # fmt: skip
        assert "gate    live   160×96" in listed
        added = await ctl.said(
            "streams", "add", f"yard={SMALL}", "max_rate_hz=5", "reconnect.maximum_s=9"
        )
        assert added == f"yard: live, {SMALL}\n"
        config = ctl.app.streams.config("yard")
        assert (config.url.text, config.max_rate_hz) == (SMALL, 5.0)
        assert (config.reconnect.initial_s, config.reconnect.maximum_s) == (1.0, 9.0)
        await ctl.said("streams", "change", "yard", "max_objects=3", "max_rate_hz=null")
        await ctl.said("streams", "change", "yard", "priority=9")
        assert ctl.app.streams.config("yard").priority == 9
        assert ctl.app.streams.config("yard").max_objects == 3
        assert ctl.app.streams.config("yard").max_rate_hz is None
        assert ", paused," in await ctl.said("streams", "pause", "gate")
        assert ctl.app.streams.config("gate").paused
        assert "paused" in await ctl.said("streams", "list")
        assert "paused" not in await ctl.said("streams", "resume", "gate")
        assert await ctl.said("streams", "remove", "yard") == "yard is removed\n"
        assert [each["id"] for each in await ctl.json("streams", "list")] == ["gate"]


async def test_add_says_why_a_stream_is_not_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run").mkdir(mode=0o700)
    async with daemon(tmp_path) as ctl:
        assert (await ctl.said("streams", "add", "w=whip://")).startswith("w: connecting")
        control = ctl.app.endpoints.control

        async def add(*arguments: str) -> Result:
            return await asyncio.to_thread(run_main, "add", *arguments, "--control", control)

        missing = await add("x=no such ü.mp4")
        assert (missing.code, missing.out) == (1, "")
        assert missing.err == (
            "masklet: x is added, and is tried again until `masklet remove x`, but delivers "
            f"nothing: {tmp_path}/no such ü.mp4 does not exist; check the path\n"
        )
        at_once = await add("y=no-such.mp4", "--no-wait", "--json")
        assert at_once.code == 0
        assert json.loads(at_once.out)["url"] == f"{tmp_path}/no-such.mp4"
        silent = socket.create_server(("127.0.0.1", 0))
        with silent:
            url = f"rtsp://127.0.0.1:{silent.getsockname()[1]}/s"
            late = await add(f"z={url}", "open_timeout_s=0.2")
        assert late.code == 1
        assert "z is added, " in late.err


async def test_ground_plane_is_given_as_yaml(tmp_path: Path) -> None:
    async with daemon(tmp_path) as ctl:
        plane = [[0, 90, 0, 0], [150, 90, 20, 0], [110, 20, 20, 30], [50, 20, 0, 30]]
        (answer,) = await ctl.json("streams", "change", "gate", f"ground_plane={plane}")
        assert answer["ground_plane"] == plane
        assert ctl.app.streams.config("gate").ground_plane == plane
        line = [[0, 0, 0, 0], [10, 0, 1, 0], [20, 0, 2, 0], [0, 5, 0, 1]]
        refused = await ctl.refused("streams", "change", "gate", f"ground_plane={line}")
        assert "no three points in a line, and 0, 1, 2 are, on the picture" in refused


async def test_refusals_of_the_daemon_are_printed_in_one_line(tmp_path: Path) -> None:
    async with daemon(tmp_path) as ctl:
        assert (
            await ctl.refused("streams", "pause", "yard")
            == "there is no stream 'yard'; streams here: gate"
        )
        assert "api.url_hosts" in await ctl.refused(
            "streams", "add", "a=rtsp://u:hunter2@10.0.0.1/"
        )
        assert "/max_objects: " in await ctl.refused("streams", "change", "gate", "max_objects=900")
        assert "/colour: " in await ctl.refused("streams", "change", "gate", "colour=red")
        assert "already" in await ctl.refused("streams", "add", f"gate={SMALL}")
        assert await ctl.refused("objects", "remove", "gate", "9") == "stream gate has no object 9"
        assert "is refused" in await ctl.refused(
            "objects", "prompt", "gate", "--object", "901", "--point", "3,4"
        )


async def test_wrong_arguments_are_refused_before_a_request(tmp_path: Path) -> None:
    async with daemon(tmp_path) as ctl:
        for arguments, said in (
            (("streams", "change", "gate", "paused"), "a setting must be given as KEY=VALUE"),
            (("streams", "change", "gate", "a=[", "b=1"), "a: the value cannot be read as YAML"),
            (("objects", "prompt", "gate"), "nothing is pointed at: give --point X,Y"),
            (
                ("objects", "prompt", "gate", "--mask", "m.png", "--point", "1,2"),
                "--mask excludes points and a box",
            ),
            (
                ("objects", "prompt", "gate", "--point", "1,2", "--at-frame", "1",
                 "--at-time-ns", "5"),
                "--at-frame excludes --at-time-ns",
            ),
            (("objects", "rename", "gate", "1"), "nothing to change: give --label NAME"),
        ):  # fmt: skip
            assert (await ctl.refused(*arguments, code=2)).startswith(said)


async def test_objects_are_prompted_listed_renamed_and_removed(tmp_path: Path) -> None:
    async with daemon(tmp_path) as ctl:
        said = await ctl.said("objects", "prompt", "gate", "--box", "0,0,9,9", "--label", "Tür")
        assert said.startswith("gate: object 1 on frame ")
        assert said.endswith("box 0,0,4,3, 12 px, predicted IoU 0.90\n")
        await ctl.said(
            "objects", "prompt", "gate", "--object", "7", "--point", "3,4", "--not-point", "8,9",
            "--colour", "#ff8800",
        )  # fmt: skip
        await until(lambda: len(ctl.app.objects.of("gate")) == 2)
        listed = await ctl.json("objects", "list", "gate")
        assert [(each["id"], each["label"], each["colour"]) for each in listed] == [
            (1, "Tür", None),
            (7, None, "#ff8800"),
        ]
        table = await ctl.said("objects", "list", "gate")
        assert "7       -      #ff8800  visible  0,0,4,3  12    0.90" in table
        said = await ctl.said("objects", "rename", "gate", "7", "--label", "dog")
        assert said == "gate: object 7 dog, #ff8800\n"
        assert await ctl.said("objects", "remove", "gate", "1") == "gate: object 1 is removed\n"
        await until(lambda: [each.object_id for each in ctl.app.objects.of("gate")] == [7])


async def test_mask_file_must_have_the_size_of_the_frame(tmp_path: Path) -> None:
    mask = np.zeros((96, 160), dtype=np.uint8)
    mask[10:20, 30:50] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    Image.fromarray(mask[:50]).save(tmp_path / "small.png")
    Image.fromarray(mask * 0).save(tmp_path / "black.png")
    async with daemon(tmp_path) as ctl:
        (answer,) = await ctl.json("objects", "prompt", "gate", "--mask", "mask.png")
        assert answer["applied"]
        assert "/mask/size: must be the picture's height and width (96, 160)" in await ctl.refused(
            "objects", "prompt", "gate", "--mask", "small.png"
        )
        for name, said in (("black.png", "is black"), ("none.png", "not a readable image")):
            arguments = ("objects", "prompt", "gate", "--mask", name)
            assert said in await ctl.refused(*arguments, code=2)


def test_event_is_printed_with_reason_and_absence(capsys: pytest.CaptureFixture[str]) -> None:
    said = {
        "type": "event", "kind": "reacquired", "stream_id": "gate", "time_ns": 0, "time_ms": 0.0,
        "reason": "prompted", "object_id": 3, "label": None, "request_id": None,
        "frame_index": 9, "detail": None, "absent_s": 4.25,
    }  # fmt: skip
    print_event(ServerEvent("reacquired", json.dumps(said), None), as_json=False)
    del said["absent_s"]  # an earlier daemon
    print_event(ServerEvent("reacquired", json.dumps(said), None), as_json=False)
    with_it, without = capsys.readouterr().out.splitlines()
    words = "gate  reacquired  object 3  prompted"
    assert with_it.endswith(f"{words}  unseen for 4.2 s  frame 9")
    assert without.endswith(f"{words}  frame 9")


async def test_events_are_printed_as_they_come(tmp_path: Path) -> None:
    async with daemon(tmp_path) as ctl:
        events = asyncio.create_task(
            ctl("events", "--stream", "gate", "--last", "9", "--count", "3")
        )
        await ctl.app.objects.prompt("gate", Prompt(1, box_xyxy=(0, 0, 9, 9)), "dog")
        result = await events
        up, added, applied = result.out.splitlines()
        assert up.split()[1:] == ["gate", "stream_up", "160x96"]
        assert added.split()[1:6] == ["gate", "added", "object", "1", "dog"]
        assert applied.split()[1:5] == ["gate", "prompt_applied", "object", "1"]
        (first,) = await ctl.json("events", "--last", "9", "--count", "1")
        assert (first["type"], first["kind"]) == ("event", "stream_up")
        assert "there is no stream" in await ctl.refused("events", "--stream", "yard")


async def test_info_and_health_describe_the_daemon(tmp_path: Path) -> None:
    async with daemon(tmp_path) as ctl:
        said = await ctl.said("info")
        assert "fake on cpu" in said
        assert "you may: no token needed" in said
        (info,) = await ctl.json("info")
        assert info["model"] == "fake"
        assert await ctl.said("health") == "ready\n"
        assert await ctl.json("health") == [{"status": "ready"}]


async def test_snapshot_is_a_jpeg_of_the_stream(tmp_path: Path) -> None:
    async with daemon(tmp_path) as ctl:
        said = await ctl.said("snapshot", "gate")
        assert said.startswith("gate.jpg: ")
        with Image.open(tmp_path / "gate.jpg") as picture:
            assert picture.size == (160, 96)
        await ctl.said(
            "snapshot", "gate", "--view", "clean", "--width", "80", "--output", "small.jpg"
        )
        with Image.open(tmp_path / "small.jpg") as picture:
            assert picture.size == (80, 48)
        assert "cannot write none/x.jpg" in await ctl.refused(
            "snapshot", "gate", "--output", "none/x.jpg"
        )


async def test_scopes_of_the_token_are_enforced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("READ", "r" * 40)
    monkeypatch.setenv("CONTROL", "c" * 40)
    token_file = tmp_path / "control.token"
    token_file.write_text("c" * 40 + "\n")
    token_file.chmod(0o600)

    tokens = [
        TokenConfig(name="wall", scopes=["read"], token_env="READ"),
        TokenConfig(name="operator", scopes=["control"], token_env="CONTROL"),
    ]
    async with daemon(tmp_path, tokens) as ctl:
        refused = await ctl.refused("streams", "list")
        assert refused.endswith("give a token: --token-file FILE, or export MASKLET_TOKEN")
        assert "gate" in await ctl.said("streams", "list", "--token-env", "READ")
        assert "control" in await ctl.refused("--token-env", "READ", "streams", "pause", "gate")
        await ctl.said("streams", "pause", "gate", "--token-file", "control.token")
        token_file.chmod(0o644)
        assert (await ctl("info", "--token-file", "control.token")).err == (
            "masklet: every user of this machine can read control.token; run `chmod o= "
            "control.token`\n"
        )
        monkeypatch.setenv("MASKLET_TOKEN", "r" * 40)
        assert "you may: read" in await ctl.said("info")
        monkeypatch.setenv("MASKLET_TOKEN", "x" * 40)
        assert "x" * 40 not in await ctl.refused("info")


def test_address_comes_from_the_environment_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASKLET_URL", "http://127.0.0.1:1")
    result = run_main("ctl", "info")
    assert result.code == 1
    assert result.err == (
        "masklet: no daemon answers at http://127.0.0.1:1 (Connection refused); start one with "
        "`masklet run`, or name another with --url or MASKLET_URL\n"
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--url", "ftp://x", "info"), "--url must be http://HOST:PORT or https://HOST:PORT"),
        (("--url", "http://u:hunter2@x", "info"), "got http://***@"),
        (("--url", "http://x:99999", "info"), "--url must be http://HOST:PORT"),
        (("--url", "http://x/?a=b", "info"), "--url must be http://HOST:PORT"),
        (("--token-env", "NOT_SET", "info"), "the environment variable NOT_SET is not set"),
        (("--token-file", "none", "info"), "cannot read none: No such file"),
        (("--url", "https://x", "--ca", "none.pem", "info"), "--ca: none.pem holds no certificate"),
    ],
)
def test_wrong_access_is_refused(arguments: tuple[str, ...], said: str) -> None:
    result = run_main("ctl", *arguments)
    assert result.code == 2
    assert said in result.err
    assert "hunter2" not in result.err


def test_events_resume_after_the_daemon_was_away(monkeypatch: pytest.MonkeyPatch) -> None:
    first = b'id: e-1\nevent: missed\ndata: {"count": 3}\n\n'
    monkeypatch.setattr("streamer.cli.ctl.actions.RECONNECT_S", 0.01)
    with one_answer(200, first, {"Content-Type": "text/event-stream"}) as url:
        result = run_main("ctl", "--url", url, "events", "--count", "2")
    assert result.code == 0
    assert result.out == "3 events were missed\n" * 2
    assert result.err == "masklet: the events ended; connecting again every 0.01 s\n"


def test_settings_are_yaml_and_nested_by_dots() -> None:
    assert settings_of(
        [
            "max_rate_hz=5",
            "paused=true",
            "url=rtsp://h/#x",
            "reconnect.jitter=0",
            "reconnect.factor=3",
        ]
    ) == {
        "max_rate_hz": 5,
        "paused": True,
        "url": "rtsp://h/#x",
        "reconnect": {"jitter": 0, "factor": 3},
    }
    with pytest.raises(ConfigError, match=r"reconnect\.jitter and reconnect exclude one another"):
        settings_of(["reconnect=5", "reconnect.jitter=0"])


@pytest.mark.parametrize(
    "action",
    [
        (), ("streams",), ("objects",), ("streams", "list"), ("streams", "add"),
        ("streams", "change"), ("streams", "remove"), ("streams", "pause"), ("streams", "resume"),
        ("objects", "list"), ("objects", "prompt"), ("objects", "rename"), ("objects", "remove"),
        ("events",), ("snapshot",), ("info",), ("health",),
    ],
)  # fmt: skip
def test_every_action_has_a_help(action: tuple[str, ...]) -> None:
    result = run_main("ctl", *action, "--help")
    assert result.code == 0
    assert f"usage: masklet ctl {' '.join(action)}".strip() in result.out
