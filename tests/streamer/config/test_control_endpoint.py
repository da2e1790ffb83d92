"""Where a daemon's control socket lies, and that its user's commands find it elsewhere too."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from streamer.cli.ctl.actions import stop
from streamer.cli.main import make_parser
from streamer.config.control_endpoint import (
    default_control_endpoint,
    default_places,
    passed_over,
    running_control_endpoint,
    running_control_endpoints,
    trusted_control_path,
)
from streamer.config.state_folder import control_link, state_folder
from streamer.errors import ConfigError, SecurityError


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``runtime`` and ``tmp`` of this user alone, and the variables that name them."""
    for name in ("runtime", "tmp"):
        (tmp_path / name).mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    return tmp_path


STRANGER = 4321 if os.getuid() == 0 else 0


def folder_of_a_stranger(folder: Path) -> Path:
    """Made by root for another user; for anybody else a folder of root's."""
    if STRANGER == 0:
        return Path("/usr")
    (folder / "stranger").mkdir(mode=0o700)
    os.chown(folder / "stranger", STRANGER, STRANGER)
    return folder / "stranger"


@contextmanager
def listening(path: Path) -> Iterator[None]:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        yield


def test_the_runtime_folder_comes_first(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"masklet-{os.getuid()}/control.sock"
    assert [str(each) for each in default_places()] == [
        f"{folders}/runtime/masklet/control.sock",
        f"{folders}/tmp/{name}",
        f"/tmp/{name}",
    ]
    assert default_control_endpoint() == f"ipc://{folders}/runtime/masklet/control.sock"
    assert passed_over(default_control_endpoint()) == []
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert default_control_endpoint() == f"ipc://{folders}/tmp/{name}"


@pytest.mark.parametrize(
    ("runtime", "reason"),
    [
        ("missing", "it cannot be used (No such file or directory)"),
        ("file", "file cannot be written"),
        ("open", "others can enter it (mode 0755)"),
        ("linked", "it is a link"),
        ("stranger", "belongs to user {stranger}"),
        ("relative", ""),
        ("l" * 100, ""),
    ],
)
def test_an_unusable_runtime_folder_is_passed_over(
    runtime: str, reason: str, folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folders / "file").touch()
    (folders / "open" / "masklet").mkdir(parents=True)
    (folders / "linked").mkdir()
    (folders / "linked" / "masklet").symlink_to(folders / "runtime")
    path = runtime if runtime == "relative" else f"{folders}/{runtime}"
    if runtime == "stranger":
        path = str(folder_of_a_stranger(folders))
    monkeypatch.setenv("XDG_RUNTIME_DIR", path)
    endpoint = default_control_endpoint()
    assert endpoint == f"ipc://{folders}/tmp/masklet-{os.getuid()}/control.sock"
    said = passed_over(endpoint)
    if reason:
        (line,) = said
        assert line.startswith(f"{path}/masklet is passed over: ")
        assert line.endswith(reason.format(stranger=STRANGER))
    else:
        assert said == []


def test_a_running_daemon_is_found_from_another_environment(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_terminal = folders / "runtime" / "masklet" / "control.sock"
    link = control_link()
    assert link is not None
    link.parent.mkdir(parents=True)
    link.symlink_to(by_terminal)
    with listening(by_terminal):
        assert running_control_endpoint() == f"ipc://{by_terminal}"
        monkeypatch.delenv("XDG_RUNTIME_DIR")  # as under cron
        assert running_control_endpoint(link) == f"ipc://{by_terminal}"
    # A socket that nobody serves is no daemon.
    assert running_control_endpoint(link) == default_control_endpoint()


def test_a_daemon_of_cron_is_found_from_a_terminal(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_cron = folders / "tmp" / f"masklet-{os.getuid()}" / "control.sock"
    with listening(by_cron):
        assert running_control_endpoint() == f"ipc://{by_cron}"
        by_cron.parent.chmod(0o755)  # anybody may have made this socket
        with pytest.raises(SecurityError, match=r"others can enter it \(mode 0755\)"):
            trusted_control_path(running_control_endpoint(), "--control")
        by_terminal = folders / "runtime" / "masklet" / "control.sock"
        by_cron.parent.chmod(0o700)
        with listening(by_terminal):
            assert running_control_endpoint() == f"ipc://{by_terminal}"
            both = [f"ipc://{by_terminal}", f"ipc://{by_cron}"]
            assert list(running_control_endpoints())[:2] == both
            with pytest.raises(ConfigError, match="daemons of this user run: name the one to stop"):
                stop(make_parser().parse_args(["stop"]))


def test_state_of_the_default_daemon_does_not_depend_on_the_environment(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = state_folder("auto", default_control_endpoint())
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert state_folder("auto", default_control_endpoint()) == first
    monkeypatch.delenv("TMPDIR")
    assert state_folder("auto", f"ipc:///tmp/masklet-{os.getuid()}/control.sock") == first


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("open", "others can enter it (mode 0777)"),
        ("group", "others can enter it (mode 0710)"),
        ("linked", "it is a link"),
        ("file", "it is no folder"),
        ("stranger", f"it belongs to user {STRANGER}"),
    ],
)
def test_a_client_trusts_no_socket_in_a_folder_that_others_may_use(
    kind: str, reason: str, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    match kind:
        case "linked":
            (tmp_path / "own").mkdir(mode=0o700)
            folder.symlink_to(tmp_path / "own")
        case "file":
            folder.touch()
        case "stranger":
            folder = folder_of_a_stranger(tmp_path)
        case _:
            folder.mkdir()
            folder.chmod({"open": 0o777, "group": 0o710}[kind])
    with pytest.raises(SecurityError) as caught:
        trusted_control_path(f"ipc://{folder}/control.sock", "--control")
    assert f"and {reason}; become the daemon's user" in str(caught.value)


def test_a_client_trusts_a_folder_of_this_user_alone(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir(mode=0o700)
    for name in ("own", "not-there-yet"):
        endpoint = f"ipc://{tmp_path}/{name}/control.sock"
        assert trusted_control_path(endpoint, "--control") == tmp_path / name / "control.sock"
