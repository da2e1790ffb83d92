"""Fenced files, in a folder and on an S3 server: only the newest holder's writes count."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.config.state_address import StateAddress
from streamer.streams.state.fenced_files import SET_ASIDE_KEPT, FencedFiles, StaleTokenError
from streamer.streams.state.places import FolderPlace, Place, place_at


@pytest.fixture
def place(address: StateAddress) -> Place:
    return place_at(address)


def test_what_is_written_is_read_on_another_machine(place: Place) -> None:
    one = FencedFiles(place)
    assert one.names() == []
    assert one.read("gate", bytes) is None
    assert one.token("gate") == 0
    one.write("gate", 7, b"first")
    one.write("gate", 7, b"second")
    one.write("yard", 9, b"other")
    other = FencedFiles(place)
    assert other.names() == ["gate", "yard"]
    assert other.read("gate", bytes) == (7, b"second")
    assert other.token("yard") == 9


def test_holder_with_a_smaller_token_is_refused(place: Place) -> None:
    old, new = FencedFiles(place), FencedFiles(place)
    old.write("gate", 7, b"old")
    new.write("gate", 8, b"new")
    with pytest.raises(StaleTokenError, match="gate: token 7 is stale, another daemon has 8"):
        old.write("gate", 7, b"late")
    with pytest.raises(StaleTokenError):
        old.remove("gate", 7)
    assert old.read("gate", bytes) == (8, b"new")
    new.remove("gate", 8)
    assert new.read("gate", bytes) is None


def test_write_that_hung_until_another_had_the_file_does_not_count(place: Place) -> None:
    class HungPlace:
        """Lists as the former holder saw it; its write arrives after that of the next one."""

        def __getattr__(self, name: str) -> object:
            return getattr(place, name)

        def write(self, path: str, content: bytes) -> None:
            new.write("gate", 8, b"new")
            place.write(path, content)

    old, new = FencedFiles(place), FencedFiles(place)
    old.write("gate", 7, b"old")
    old._place = HungPlace()  # type: ignore[assignment]
    old.write("gate", 7, b"late")
    assert new.read("gate", bytes) == (8, b"new")
    new.write("gate", 8, b"newer")
    assert old.read("gate", bytes) == (8, b"newer")


def test_two_that_took_one_token_never_both_win(place: Place) -> None:
    one, other = FencedFiles(place), FencedFiles(place)
    one.write("gate", 7, b"one")
    outcomes = []
    for holder, content in ((other, b"other"), (one, b"one"), (other, b"other")):
        try:
            holder.write("gate", 7, content)
            outcomes.append(content)
        except StaleTokenError:
            outcomes.append(b"")
    winner = outcomes[-1] or outcomes[-2]
    assert one.read("gate", bytes) == (7, winner)
    assert outcomes.count(b"") >= 1


def test_nothing_grows_with_the_number_of_writes(place: Place) -> None:
    for token in range(1, 6):
        holder = FencedFiles(place)
        for number in range(3):
            holder.write("gate", token, f"{token}.{number}".encode())
    assert len(place.names("gate")) == 2
    for _ in range(SET_ASIDE_KEPT + 2):
        holder.copy_aside(["gate"], "not-resumed")
    assert len(place.names(".aside")) == SET_ASIDE_KEPT
    assert holder.names() == ["gate"]


def test_damaged_version_gives_way_to_the_one_before(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    files = FencedFiles(place)
    files.write("gate", 7, b"first")
    files.write("gate", 7, b"second")
    place.write(f"gate/{max(place.names('gate'))}", b"sec")
    assert files.read("gate", bytes) == (7, b"first")
    assert "damaged: its sha256 differs" in caplog.text

    def no(_: bytes) -> bytes:
        raise ValueError("of a later version")

    with pytest.raises(ValueError, match="none of the 2 versions of gate can be read"):
        files.read("gate", no)


def test_what_lies_there_beside_is_left_alone(place: Place) -> None:
    files = FencedFiles(place)
    files.probe()
    place.write("gate/notes.txt", b"mine")
    files.write("gate", 1, b"x")
    files.write("gate", 1, b"y")
    files.write("gate", 1, b"z")
    assert files.read("gate", bytes) == (1, b"z")
    assert "notes.txt" in place.names("gate")


def test_half_a_file_of_a_killed_writer_is_no_version_and_is_removed(tmp_path: Path) -> None:
    files = FencedFiles(FolderPlace(tmp_path))
    files.write("gate", 1, b"x")
    (name,) = (tmp_path / "gate").iterdir()
    half = name.with_name(name.name.replace("-0000000000-", "-0000000001-") + ".writing")
    half.write_bytes(b"")
    assert files.read("gate", bytes) == (1, b"x")
    files.write("gate", 1, b"y")
    assert not half.exists()


def test_folder_that_went_away_is_an_error_not_an_empty_store(tmp_path: Path) -> None:
    files = FencedFiles(FolderPlace(tmp_path / "mount"))
    for call in (files.names, lambda: files.token("gate"), lambda: files.write("gate", 1, b"x")):
        with pytest.raises(FileNotFoundError):
            call()


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 4)), max_size=12))
def test_greatest_token_always_has_the_content(writes: list[tuple[int, int]]) -> None:
    """Whatever the order of three holders' writes, what is read was written with the greatest."""
    kept: dict[str, bytes] = {}

    class Memory:
        def names(self, folder: str) -> list[str]:
            return [path.partition("/")[2] for path in kept if path.startswith(f"{folder}/")]

        def read(self, path: str, maximum_bytes: int) -> bytes:
            return kept[path]

        def write(self, path: str, content: bytes) -> None:
            kept[path] = content

        def remove(self, path: str) -> None:
            del kept[path]

    holders = [FencedFiles(Memory()) for _ in range(3)]  # type: ignore[arg-type]
    greatest, content = 0, b""
    for number, (holder, token) in enumerate(writes):
        try:
            holders[holder].write("gate", token, str(number).encode())
        except StaleTokenError:
            assert greatest >= token
        else:
            assert token >= greatest
            greatest, content = token, str(number).encode()
        assert len(kept) <= 2
    assert holders[0].read("gate", bytes) == ((greatest, content) if greatest else None)
