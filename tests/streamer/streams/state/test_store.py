"""State files: complete after a kill at any time, private, and never blocking."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import resource
import signal
import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from streamer.errors import ConfigError
from streamer.runtime.private_files import make_private_folder
from streamer.streams.state.lock import FolderLock, FolderTakenError
from streamer.streams.state.memory_file import decode_memories, encode_memories
from streamer.streams.state.records import ObjectRecord, StreamRecord
from streamer.streams.state.store import INDEX, SET_ASIDE_KEPT, StateStore
from tests.conftest import eventually
from tests.streamer.fakes import object_memory
from tracker import ModelIdentity, ObjectMemory

GATE = StreamRecord("configured", objects=[ObjectRecord(1, "Tür", "#0088ff"), ObjectRecord(2)])
YARD = StreamRecord("added", {"url": "rtsp://u:hunter2@camera/2"})


def assert_same(first: ObjectMemory, second: ObjectMemory) -> None:
    assert first.model == second.model
    np.testing.assert_array_equal(first.age_F, second.age_F)
    for one, other in (
        (first.spatial_FLc, second.spatial_FLc),
        (first.pointer_FC, second.pointer_FC),
    ):
        assert one.dtype == other.dtype == np.float32
        np.testing.assert_array_equal(one, other)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "state"
    make_private_folder("state_directory", made)
    return made


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_saved_is_read_again(folder: Path) -> None:
    StateStore(folder).save(
        {"gate": GATE, "yard": YARD}, {"gate": {1: object_memory(1), 2: object_memory(2)}}
    )
    store = StateStore(folder)
    records = store.load()
    assert records["gate"].objects == GATE.objects
    assert records["yard"] == YARD
    read = store.memories("gate")
    assert list(read) == [1, 2]
    assert_same(read[1], object_memory(1))
    assert_same(read[2], object_memory(2))
    assert store.memories("yard") == {}


def test_other_users_cannot_read_it(folder: Path) -> None:
    StateStore(folder).save({"gate": GATE}, {"gate": {1: object_memory(1)}})
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_memories_that_did_not_change_stay_and_old_ones_go(folder: Path) -> None:
    store = StateStore(folder)
    store.save(
        {"gate": GATE, "yard": YARD}, {"gate": {1: object_memory(1)}, "yard": {5: object_memory(5)}}
    )
    before = files(folder)
    store.save({"gate": GATE, "yard": YARD}, {})
    assert files(folder) == before
    store.save({"gate": GATE, "yard": YARD}, {"gate": {1: object_memory(3)}})
    assert len(files(folder)) == 3
    store.save({"gate": GATE}, {"gate": {}})
    assert files(folder) == [INDEX]
    again = StateStore(folder)
    again.load()
    assert again.memories("gate") == {}


def test_stream_ids_that_differ_in_case_have_files_of_their_own(folder: Path) -> None:
    both = {"gate": GATE, "GATE": GATE}
    StateStore(folder).save(both, {"gate": {1: object_memory(1)}, "GATE": {1: object_memory(2)}})
    store = StateStore(folder)
    store.load()
    assert store.memories("gate")[1].pointer_FC[0, 0] == 1
    assert store.memories("GATE")[1].pointer_FC[0, 0] == 2


UNREADABLE = {
    "nothing": b"",
    "half": b'{"format": "masklet-state", "version": 1, "saved_time',
    "noise": bytes(range(256)),
    "another program's": b'{"a": 1}',
    "a list": b"[]",
    "of a later version": b'{"format": "masklet-state", "version": 2, "streams": 7}',
    "wrong in a record": (
        b'{"format": "masklet-state", "version": 1, "saved_time_ns": 1, '
        b'"streams": {"gate": {"origin": "stolen"}}}'
    ),
    "with a path in a file's name": (
        b'{"format": "masklet-state", "version": 1, "saved_time_ns": 1, "streams": {"gate": '
        b'{"origin": "added", "memory": {"name": "memory-../x.safetensors", "sha256": ""}}}}'
    ),
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_index_that_cannot_be_read_is_set_aside_and_a_new_one_begins(
    kind: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    StateStore(folder).save({"gate": GATE}, {"gate": {1: object_memory(1)}})
    (folder / INDEX).write_bytes(UNREADABLE[kind])
    store = StateStore(folder)
    assert store.load() == {}
    (aside,) = folder.iterdir()
    assert (aside / INDEX).read_bytes() == UNREADABLE[kind]
    assert len(list(aside.glob("memory-gate-*"))) == 1
    assert f"{folder / INDEX} cannot be read" in caplog.text
    assert str(aside) in caplog.text
    store.save({"yard": YARD}, {})
    assert StateStore(folder).load() == {"yard": YARD}


def damage(path: Path, kind: str) -> None:
    content = bytearray(path.read_bytes())
    match kind:
        case "flipped bit":
            content[-3] ^= 4
        case "cut short":
            del content[len(content) // 2 :]
        case "empty":
            content.clear()
        case "other file":
            content[:] = b"\x08\0\0\0\0\0\0\0{}      "
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("kind", ["flipped bit", "cut short", "empty", "other file", "gone"])
def test_damaged_memories_are_set_aside_and_the_rest_is_used(
    kind: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    StateStore(folder).save(
        {"gate": GATE, "yard": YARD}, {"gate": {1: object_memory(1)}, "yard": {5: object_memory(5)}}
    )
    (path,) = folder.glob("memory-gate-*")
    if kind == "gone":
        path.unlink()
    else:
        damage(path, kind)
    store = StateStore(folder)
    records = store.load()
    assert store.memories("gate") == {}
    assert list(store.memories("yard")) == [5]
    assert str(path) in caplog.text
    store.save(records, {})
    again = StateStore(folder)
    assert again.load()["gate"].memory is None
    assert list(again.memories("yard")) == [5]


def test_memories_with_a_right_checksum_and_wrong_content_are_set_aside(folder: Path) -> None:
    import hashlib

    StateStore(folder).save({"gate": GATE}, {"gate": {1: object_memory(1)}})
    (path,) = folder.glob("memory-gate-*")
    content = path.read_bytes().replace(b"masklet-memories-1", b"masklet-memories-9")
    path.write_bytes(content)
    index = json.loads((folder / INDEX).read_text())
    index["streams"]["gate"]["memory"]["sha256"] = hashlib.sha256(content).hexdigest()
    (folder / INDEX).write_text(json.dumps(index))
    store = StateStore(folder)
    store.load()
    assert store.memories("gate") == {}
    assert not path.exists()


def test_set_aside_states_are_bounded_and_never_replace_each_other(folder: Path) -> None:
    store = StateStore(folder)
    assert store.set_aside("fresh") is None
    places = []
    for number in range(SET_ASIDE_KEPT + 2):
        store.save({f"s{number}": YARD}, {})
        places.append(store.set_aside("fresh"))
    assert len(set(places)) == SET_ASIDE_KEPT + 2
    kept = sorted(map(str, folder.glob("aside-*")))
    assert kept == places[2:]
    assert "s6" in (Path(kept[-1]) / INDEX).read_text()


@contextmanager
def full_disk(bytes_left: int) -> Iterator[None]:
    """No file of this process can grow beyond ``bytes_left``, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_left, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("bytes_left", [0, 300, 1500])
def test_full_disk_leaves_the_state_before(bytes_left: int, folder: Path) -> None:
    store = StateStore(folder)
    store.save({"gate": GATE}, {"gate": {1: object_memory(1)}})
    before = files(folder)
    big = {f"s{number}": YARD for number in range(50)}
    with full_disk(bytes_left), pytest.raises(OSError, match="File too large"):
        store.save(big, {"s1": {1: object_memory(7)}})
    assert files(folder) == before
    again = StateStore(folder)
    assert list(again.load()) == ["gate"]
    assert again.memories("gate")[1].pointer_FC[0, 0] == 1
    store.save(big, {"s1": {1: object_memory(7)}})
    assert len(StateStore(folder).load()) == 50


WRITER = """
    import sys
    from pathlib import Path
    from streamer.streams.state.records import ObjectRecord, StreamRecord
    from streamer.streams.state.store import StateStore
    from tests.streamer.fakes import object_memory

    store = StateStore(Path(sys.argv[1]))
    number = 0
    while True:
        number += 1
        names = [f"s{each}" for each in range(number % 4 + 1)]
        records = {
            name: StreamRecord("added", {"url": "rtsp://x", "max_rate_hz": float(number)},
                               [ObjectRecord(number)])
            for name in names
        }
        store.save(records, {
            name: {number: object_memory(number)} for name in names
        })
        if number == 3:
            print("writing", flush=True)
"""


@pytest.mark.parametrize("seed", range(4))
def test_kill_in_the_middle_of_a_write_leaves_one_whole_state(seed: int, folder: Path) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), str(folder)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[4],
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"writing\n"
    # Killed at a moment of its own: when some number of the files have been seen to change.
    seen: set[str] = set()
    many = random.Random(seed).randrange(5, 40)

    def enough() -> bool:
        seen.update(os.listdir(folder))
        return len(seen) >= many

    eventually(enough, what="files to change")
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    store = StateStore(folder)
    records = store.load()
    (number,) = {record.settings["max_rate_hz"] for record in records.values()}
    assert len(records) == number % 4 + 1
    for stream_id in records:
        (read,) = store.memories(stream_id).items()
        assert read[0] == number
        assert set(read[1].spatial_FLc.flat) == {number}
    assert not list(folder.glob("aside-*"))
    store.save(records, {})
    assert len(files(folder)) == 1 + len(records)  # nothing half-written is left


def test_folder_belongs_to_one_daemon(folder: Path) -> None:
    first, second = FolderLock(folder), FolderLock(folder)
    first.acquire()
    with pytest.raises(FolderTakenError, match="another daemon keeps its state in .*; stop it"):
        second.acquire()
    first.release()
    second.acquire()
    second.release()


def test_lock_of_a_killed_process_is_free(folder: Path) -> None:
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, pathlib; from streamer.streams.state.lock import FolderLock\n"
            "lock = FolderLock(pathlib.Path(sys.argv[1]))\n"
            "lock.acquire(); print('held', flush=True)\n"
            "sys.stdin.read()",
            str(folder),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[4],
    )
    assert holder.stdout is not None
    assert holder.stdin is not None
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(FolderTakenError):
        FolderLock(folder).acquire()
    holder.kill()
    holder.wait()
    holder.stdout.close()
    holder.stdin.close()
    lock = FolderLock(folder)
    lock.acquire()
    lock.release()


def test_folder_that_others_can_enter_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with pytest.raises(ConfigError, match=f"others can enter {tmp_path} .*chmod 700 {tmp_path}"):
        make_private_folder("state_directory", tmp_path)


@given(
    hnp.arrays(np.uint32, (3, 2, 4), elements=st.integers(0, 2**32 - 1)),
    st.booleans(),
)
def test_memories_come_back_bit_by_bit(bits: np.ndarray, bfloat16: bool) -> None:
    values = (bits & (0xFFFF0000 if bfloat16 else 0xFFFFFFFF)).astype(np.uint32)
    memory = ObjectMemory(
        ModelIdentity("nano", "f" * 64),
        np.array([1, 2, 900], dtype=np.int64),
        values.view(np.float32),
        values[:, 0].view(np.float32),
    )
    (read,) = decode_memories(encode_memories({5: memory}))[0].values()
    assert read.spatial_FLc.tobytes() == memory.spatial_FLc.tobytes()
    assert read.pointer_FC.tobytes() == memory.pointer_FC.tobytes()
    assert read.age_F.tolist() == [1, 2, 900]
    assert read.model == memory.model


def test_memories_that_were_bfloat16_take_half_the_bytes() -> None:
    halves = object_memory(0.5)
    whole = dataclasses.replace(halves, spatial_FLc=halves.spatial_FLc + np.float32(1e-7))
    assert len(encode_memories({1: whole})) - len(encode_memories({1: halves})) == pytest.approx(
        halves.spatial_FLc.nbytes / 2, abs=16
    )
