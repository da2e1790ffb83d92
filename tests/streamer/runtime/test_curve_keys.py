"""CURVE key files, and the folder of clients that may connect."""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path

import pytest
import zmq
import zmq.auth

from streamer.cli.keys import make_all_keys
from streamer.errors import SecurityError
from streamer.runtime.curve_keys import (
    AllowList,
    allow_client,
    load_key_pair,
    load_public_key,
    load_server_keys,
    make_keys,
)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_files_are_0600_in_a_folder_of_0700_whatever_the_umask(tmp_path: Path) -> None:
    previous = os.umask(0)
    try:
        files = make_keys(tmp_path / "keys", "server")
    finally:
        os.umask(previous)
    assert (mode(files.secret), mode(files.public)) == (0o600, 0o600)
    assert mode(tmp_path / "keys") == 0o700
    assert sorted(path.name for path in (tmp_path / "keys").iterdir()) == [
        "server.key",
        "server.key_secret",
    ]


def test_other_curve_programs_read_the_files(tmp_path: Path) -> None:
    files = make_keys(tmp_path / "keys", "server")
    public, secret = zmq.auth.load_certificate(files.secret)
    assert secret is not None
    assert zmq.curve_public(secret) == public
    assert zmq.auth.load_certificate(files.public) == (public, None)
    pair = load_key_pair(files.secret)
    assert (pair.public, pair.secret) == (public, secret)
    assert load_public_key(files.public) == public
    assert load_public_key(public) == public


def test_a_secret_key_is_never_shown(tmp_path: Path) -> None:
    pair = load_key_pair(make_keys(tmp_path / "keys", "server").secret)
    assert pair.secret.decode() not in repr(pair)


def test_existing_keys_are_replaced_only_when_asked(tmp_path: Path) -> None:
    files = make_keys(tmp_path / "keys", "laptop")
    before = files.secret.read_text()
    with pytest.raises(SecurityError, match=r"laptop\.key_secret.*there already.*--overwrite"):
        make_keys(tmp_path / "keys", "laptop")
    assert files.secret.read_text() == before
    make_keys(tmp_path / "keys", "laptop", overwrite=True)
    assert files.secret.read_text() != before
    assert mode(files.secret) == 0o600


def test_a_folder_that_others_may_enter_holds_no_keys(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o755)
    with pytest.raises(SecurityError, match=f"mode 0755.*chmod 700 {folder}"):
        make_keys(folder, "server")
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "x" * 65])
def test_a_name_that_is_no_file_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SecurityError, match="use 1 to 64 letters"):
        make_keys(tmp_path / "keys", name)


def test_a_secret_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    secret = make_keys(tmp_path / "keys", "server").secret
    secret.chmod(0o640)
    with pytest.raises(SecurityError, match=f"mode 0640.*chmod 600 {secret}"):
        load_server_keys(secret)


def test_keys_that_every_user_may_change_are_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_all_keys(tmp_path / "keys", ["laptop"])
    clients, laptop = tmp_path / "keys" / "clients", tmp_path / "keys" / "clients" / "laptop.key"
    for path, mode in ((clients, 0o777), (laptop, 0o666)):
        before = path.stat().st_mode
        path.chmod(mode)
        with pytest.raises(SecurityError, match=rf"can change {path}; run `chmod o-w {path}`"):
            AllowList(clients)
        path.chmod(before)
    allowed = AllowList(clients)
    assert len(allowed) == 1
    laptop.chmod(0o666)
    assert not allowed.allows(load_public_key(laptop))
    assert f"ignoring a client key: every user of this machine can change {laptop}" in caplog.text
    secret = tmp_path / "keys" / "server.key_secret"
    load_server_keys(secret)
    (tmp_path / "keys").chmod(0o707)
    with pytest.raises(SecurityError, match="zeromq.server_key_file: every user of this machine"):
        load_server_keys(secret)


def test_missing_and_damaged_key_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(SecurityError, match="no such file; `masklet keys DIRECTORY` makes"):
        load_server_keys(tmp_path / "server.key_secret")
    damaged = tmp_path / "damaged.key"
    damaged.write_text('curve\n    public-key = "short"\n')
    with pytest.raises(SecurityError, match=r"damaged\.key: not a ZeroMQ key file"):
        load_public_key(damaged)
    files = make_keys(tmp_path / "keys", "server")
    with pytest.raises(SecurityError, match="holds no key pair; give the file NAME.key_secret"):
        load_key_pair(files.public)
    other = make_keys(tmp_path / "other", "server")
    mixed = files.secret.read_text().replace(
        load_public_key(files.public).decode(), load_public_key(other.public).decode()
    )
    files.secret.write_text(mixed)
    with pytest.raises(SecurityError, match="does not belong to its secret key"):
        load_key_pair(files.secret)


def test_the_command_makes_a_server_and_clients_and_allows_them(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    lines = make_all_keys(folder, ["laptop", "wall"])
    assert f"    zeromq.server_key_file={folder}/server.key_secret" in lines
    assert f"    zeromq.client_keys_directory={folder}/clients" in lines
    allowed = AllowList(folder / "clients")
    assert len(allowed) == 2
    assert allowed.allows(load_public_key(folder / "laptop.key"))
    assert not allowed.allows(load_public_key(folder / "server.key"))


def test_the_command_keeps_the_server_when_a_client_is_added(tmp_path: Path) -> None:
    make_all_keys(tmp_path / "keys", [])
    server = (tmp_path / "keys" / "server.key_secret").read_text()
    lines = make_all_keys(tmp_path / "keys", ["laptop"])
    assert lines[0].startswith("kept")
    assert (tmp_path / "keys" / "server.key_secret").read_text() == server
    with pytest.raises(SecurityError, match="there already"):
        make_all_keys(tmp_path / "keys", [])
    with pytest.raises(SecurityError, match="cannot be called 'server'"):
        make_all_keys(tmp_path / "keys", ["server"])


def test_a_key_that_is_added_or_removed_counts_at_once(tmp_path: Path) -> None:
    make_all_keys(tmp_path / "keys", ["laptop"])
    allowed = AllowList(tmp_path / "keys" / "clients")
    wall = make_keys(tmp_path / "wall", "wall")
    assert not allowed.allows(load_public_key(wall.public))
    path = allow_client(tmp_path / "keys" / "clients", "wall", wall.public)
    assert allowed.allows(load_public_key(wall.public))
    path.unlink()
    assert not allowed.allows(load_public_key(wall.public))


def test_a_damaged_client_key_stops_a_start_but_not_a_running_daemon(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_all_keys(tmp_path / "keys", ["laptop"])
    clients = tmp_path / "keys" / "clients"
    allowed = AllowList(clients)
    (clients / "broken.key").write_text("nothing")
    with caplog.at_level(logging.WARNING):
        assert allowed.allows(load_public_key(tmp_path / "keys" / "laptop.key"))
    assert "broken.key" in caplog.text
    with pytest.raises(SecurityError, match=r"broken\.key: not a ZeroMQ key file"):
        AllowList(clients)


def test_a_missing_allow_list_is_named_and_an_empty_one_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(SecurityError, match="client_keys_directory .*no such folder"):
        AllowList(tmp_path / "none")
    with caplog.at_level(logging.WARNING):
        assert len(AllowList(tmp_path)) == 0
    assert "every subscriber is refused" in caplog.text


def test_what_is_no_file_is_ignored_and_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_all_keys(tmp_path / "keys", ["laptop"])
    clients = tmp_path / "keys" / "clients"
    allowed = AllowList(clients)
    os.mkfifo(clients / "pipe.key")
    (clients / "folder.key").mkdir()
    for _ in range(3):
        assert allowed.allows(load_public_key(tmp_path / "keys" / "laptop.key"))
    assert caplog.text.count("pipe.key: not a file") == 1
    assert caplog.text.count("folder.key: not a file") == 1


@pytest.mark.parametrize("unreadable", ["folder", "file"])
def test_what_cannot_be_read_for_a_while_counts_as_last_read(
    unreadable: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    make_all_keys(tmp_path / "keys", ["laptop"])
    clients = tmp_path / "keys" / "clients"
    laptop = load_public_key(tmp_path / "keys" / "laptop.key")
    allowed = AllowList(clients)
    wall = make_keys(tmp_path / "wall", "wall")

    def fails(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        if unreadable == "folder":
            patch.setattr(os, "scandir", fails)
        else:
            allow_client(clients, "laptop", tmp_path / "keys" / "laptop.key")  # a new file
            patch.setattr(Path, "open", fails)
        assert allowed.allows(laptop)
        assert not allowed.missing([laptop])
        assert caplog.text.count("Too many open files; its last state counts") == 1
    allow_client(clients, "laptop", wall.public)
    assert allowed.allows(load_public_key(wall.public))
    assert allowed.missing([laptop]) == {laptop}
