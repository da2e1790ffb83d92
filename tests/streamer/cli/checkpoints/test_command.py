"""Downloads and checks of official files, against a local server that misbehaves on request."""

from __future__ import annotations

import errno
import hashlib
import io
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from streamer.cli.checkpoints.command import list_checkpoints, pull, pull_detector, verify
from streamer.cli.checkpoints.download import DownloadError, download
from streamer.config.published_detectors import PUBLISHED_DETECTORS, PublishedDetector
from streamer.errors import MaskletError
from tests.conftest import find_free_port
from tests.fake_hub import TOKEN, FakeHub, fake_hub
from tracker import CheckpointError
from tracker.weights.official import OFFICIAL_CHECKPOINTS, OfficialCheckpoint

CONTENT = bytes(range(256)) * 12_000  # 3 MB: several blocks
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NAME = "sam2.1_hiera_tiny"


@dataclass
class FileServer:
    """Serves ``content``; ``send_bytes`` cuts every answer short, ``ranges`` obeys Range."""

    content: bytes = CONTENT
    ranges: bool = True
    send_bytes: int | None = None
    status: int | None = None
    requests: list[str | None] = field(default_factory=list)
    url: str = ""

    def registry(self, sha256: str = SHA256, size: int | None = None) -> dict[str, Any]:
        size_bytes = len(CONTENT) if size is None else size
        return {NAME: OfficialCheckpoint(NAME, self.url, size_bytes, sha256)}


@pytest.fixture
def server() -> Iterator[FileServer]:
    files = FileServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            files.requests.append(asked)
            if files.status is not None:
                self.send_error(files.status)
                return
            start = 0
            if asked is not None and files.ranges:
                found = re.fullmatch(r"bytes=(\d+)-", asked)
                assert found is not None
                start = int(found[1])
                self.send_response(206)
                total = len(files.content)
                self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
            else:
                self.send_response(200)
            body = files.content[start:]
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body if files.send_bytes is None else body[: files.send_bytes])

        def log_message(self, *arguments: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    files.url = f"http://127.0.0.1:{http.server_port}/{NAME}.pt"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield files
    http.shutdown()
    thread.join()
    http.server_close()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Our own folder; the hub cannot be reached, so that Meta's address is asked."""
    directory = tmp_path / "checkpoints"
    monkeypatch.setenv("MASKLET_CHECKPOINTS", str(directory))
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{find_free_port()}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return directory


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=200)


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_pull_puts_the_whole_file_in_place_and_prints_its_path(
    server: FileServer, folder: Path, console: Console
) -> None:
    assert pull(NAME, console, server.registry()) == 0
    assert (folder / f"{NAME}.pt").read_bytes() == CONTENT
    assert str(folder / f"{NAME}.pt") in printed(console)
    assert list(folder.iterdir()) == [folder / f"{NAME}.pt"]


def test_pull_of_an_intact_file_sends_no_request(
    server: FileServer, folder: Path, console: Console
) -> None:
    pull(NAME, console, server.registry())
    pull(NAME, console, server.registry())
    assert len(server.requests) == 1
    assert "already here" in printed(console)


def test_pull_replaces_a_damaged_file_of_the_right_size(
    server: FileServer, folder: Path, console: Console
) -> None:
    folder.mkdir()
    (folder / f"{NAME}.pt").write_bytes(bytes(len(CONTENT)))
    pull(NAME, console, server.registry())
    assert (folder / f"{NAME}.pt").read_bytes() == CONTENT


def test_truncated_download_is_resumed_where_it_stopped(
    server: FileServer, folder: Path, console: Console
) -> None:
    server.send_bytes = 1_500_000
    with pytest.raises(DownloadError, match="ended after 1500000 of 3072000 bytes; run the"):
        pull(NAME, console, server.registry())
    assert not (folder / f"{NAME}.pt").exists()
    server.send_bytes = None
    pull(NAME, console, server.registry())
    assert server.requests == [None, "bytes=1500000-"]
    assert (folder / f"{NAME}.pt").read_bytes() == CONTENT


def test_server_without_ranges_sends_everything_again(
    server: FileServer, folder: Path, console: Console
) -> None:
    folder.mkdir()
    (folder / f"{NAME}.pt.part").write_bytes(CONTENT[:1000])
    server.ranges = False
    pull(NAME, console, server.registry())
    assert (folder / f"{NAME}.pt").read_bytes() == CONTENT


def test_complete_part_is_checked_and_not_downloaded_again(
    server: FileServer, folder: Path, console: Console
) -> None:
    folder.mkdir()
    (folder / f"{NAME}.pt.part").write_bytes(CONTENT)
    pull(NAME, console, server.registry())
    assert server.requests == []


def test_wrong_content_is_deleted_and_named(
    server: FileServer, folder: Path, console: Console
) -> None:
    server.content = CONTENT[:-1] + b"\x00"
    with pytest.raises(DownloadError, match=f"expected {SHA256}"):
        pull(NAME, console, server.registry())
    assert list(folder.iterdir()) == []


def test_damaged_part_is_not_resumed_again(
    server: FileServer, folder: Path, console: Console
) -> None:
    folder.mkdir()
    (folder / f"{NAME}.pt.part").write_bytes(b"x" * 1000)
    with pytest.raises(DownloadError, match="not the published file"):
        pull(NAME, console, server.registry())
    assert pull(NAME, console, server.registry()) == 0


def test_server_that_sends_too_much_is_refused(
    server: FileServer, folder: Path, console: Console
) -> None:
    with pytest.raises(DownloadError, match="more than the 1000000 bytes"):
        pull(NAME, console, server.registry(size=1_000_000))
    assert not (folder / f"{NAME}.pt").exists()


def test_answer_404_is_reported_with_the_address(
    server: FileServer, folder: Path, console: Console
) -> None:
    server.status = 404
    with pytest.raises(DownloadError, match=f"{NAME}.pt: the server answered 404"):
        pull(NAME, console, server.registry())


def test_offline_error_names_the_alternative(folder: Path, console: Console) -> None:
    nobody = f"http://127.0.0.1:{find_free_port()}/{NAME}.pt"
    registry = {NAME: OfficialCheckpoint(NAME, nobody, 10, SHA256)}
    with pytest.raises(DownloadError, match=r"not reachable .*online\? .* copied to .*tiny.pt"):
        pull(NAME, console, registry)


def test_full_disk_is_noticed_before_the_download(
    server: FileServer, folder: Path, console: Console
) -> None:
    with pytest.raises(DownloadError, match="disk is full; .* MASKLET_CHECKPOINTS"):
        pull(NAME, console, server.registry(size=1 << 60))
    assert server.requests == []


def test_disk_that_fills_up_keeps_the_partial_file(
    server: FileServer, folder: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FullDisk(io.FileIO):
        def write(self, data: Any) -> int:
            if self.tell() + len(data) > 2 * (1 << 20):
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda path, mode: FullDisk(path, "a+"))
        with pytest.raises(DownloadError, match="disk is full"):
            pull(NAME, console, server.registry())
    kept = (folder / f"{NAME}.pt.part").stat().st_size
    assert 0 < kept <= 2 << 20
    assert pull(NAME, console, server.registry()) == 0
    assert server.requests == [None, f"bytes={kept}-"]


def test_two_pulls_at_once_do_not_mix(server: FileServer, tmp_path: Path) -> None:
    second: list[str] = []

    def meanwhile(done: int, total: int) -> None:
        with pytest.raises(DownloadError) as caught:
            download(server.url, tmp_path / "f.pt", len(CONTENT), SHA256, lambda *_: None)
        second.append(str(caught.value))

    download(server.url, tmp_path / "f.pt", len(CONTENT), SHA256, meanwhile)
    assert "being written by another process" in second[0]
    assert (tmp_path / "f.pt").read_bytes() == CONTENT


def test_folder_that_cannot_be_made_is_named(
    server: FileServer,
    folder: Path,
    tmp_path: Path,
    console: Console,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MASKLET_CHECKPOINTS", str(tmp_path / "file" / "below"))
    with pytest.raises(DownloadError, match="cannot be written"):
        pull(NAME, console, server.registry())


def test_unknown_name_lists_the_known_ones(console: Console) -> None:
    with pytest.raises(MaskletError, match=r"no official checkpoint 'sam3'; there are sam2\.1_"):
        pull("sam3", console)
    assert pull("nano", console) == 0
    assert "embedded: there is nothing to download" in printed(console)


@pytest.fixture
def hub(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub with Meta's repository of the tiny model, and with somebody's detector."""
    for name, files in (
        ("meta", {f"{NAME}.pt": CONTENT}),
        ("ada", {"config.json": b'{"model_type": "owlv2"}'}),
    ):
        (tmp_path / name).mkdir()
        for file, content in files.items():
            (tmp_path / name / file).write_bytes(content)
    with fake_hub(tmp_path / "hub", monkeypatch) as served:
        served.models["facebook/sam2.1-hiera-tiny"] = tmp_path / "meta"
        served.models["ada/sees-words"] = tmp_path / "ada"
        yield served


def test_pull_asks_the_hub_first_and_finds_the_file_there_again(
    hub: FakeHub, server: FileServer, folder: Path, console: Console
) -> None:
    for name in ("facebook/sam2.1-hiera-tiny", NAME):
        assert pull(name, console, server.registry()) == 0
    assert server.requests == []
    assert not folder.exists()
    assert "use it: masklet run model=sam2.1_hiera_tiny" in printed(console)
    assert "already here and intact" in printed(console)
    list_checkpoints(console, server.registry())
    assert "models--facebook--sam2.1-hiera-tiny" in printed(console)


def test_hub_that_fails_is_named_and_meta_is_asked(
    hub: FakeHub, server: FileServer, folder: Path, console: Console
) -> None:
    hub.token = TOKEN
    assert pull(NAME, console, server.registry()) == 0
    assert (folder / f"{NAME}.pt").read_bytes() == CONTENT
    assert "not from the hub: 127.0.0.1 refuses facebook/sam2.1-hiera-tiny" in printed(console)
    (folder / f"{NAME}.pt").unlink()
    server.status = 404
    with pytest.raises(DownloadError, match=r"refuses facebook.*; and .*server answered 404"):
        pull(NAME, console, server.registry())


def test_any_model_of_the_hub_is_pulled_by_its_name(hub: FakeHub, console: Console) -> None:
    assert pull("ada/sees-words", console) == 0
    assert "use it: masklet run starter=text starter.model=ada/sees-words" in printed(console)
    hub.models["ada/writes"] = hub.models["ada/sees-words"].with_name("bert")
    hub.models["ada/writes"].mkdir()
    (hub.models["ada/writes"] / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(MaskletError, match="is of no use here: ada/writes is of the kind bert"):
        pull("ada/writes", console)


def test_nothing_is_asked_while_the_hub_is_to_be_left_alone(
    hub: FakeHub, server: FileServer, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match="HF_HUB_OFFLINE forbids"):
        pull(NAME, console, server.registry())
    assert hub.requests == server.requests == []


@pytest.fixture
def detector(server: FileServer, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A detector whose published digits are those of ``CONTENT``, on the local server."""
    monkeypatch.setattr(PublishedDetector, "url", server.url)
    return PublishedDetector("tiny", f"tiny-{SHA256[:8]}.pth", len(CONTENT) / (1 << 20))


def test_weights_of_a_detector_are_checked_by_the_published_digits(
    server: FileServer, detector: PublishedDetector, console: Console
) -> None:
    assert pull_detector(detector, console) == 0
    assert detector.path.read_bytes() == CONTENT
    assert f"begins with {SHA256[:8]}" in printed(console)
    assert pull_detector(detector, console) == 0
    assert len(server.requests) == 1
    detector.path.write_bytes(b"damaged")
    server.content = CONTENT[:-1] + b"\x00"
    with pytest.raises(DownloadError, match="not the published file"):
        pull_detector(detector, console)
    server.content, server.send_bytes = CONTENT, 1_500_000
    with pytest.raises(DownloadError, match="ended after 1500000 of 3072000"):
        pull_detector(detector, console)
    server.send_bytes = None
    pull_detector(detector, console)
    assert detector.path.read_bytes() == CONTENT


def test_detectors_are_those_that_torchvision_publishes(console: Console) -> None:
    from torchvision.models import detection, get_model_weights

    for name, published in PUBLISHED_DETECTORS.items():
        (weights,) = get_model_weights(getattr(detection, name))
        assert published.url == weights.url
        assert published.size_mib == weights.meta["_file_size"]
        assert re.fullmatch("[0-9a-f]{8}", published.sha256_prefix)
    list_checkpoints(console)
    assert "fasterrcnn_mobilenet_v3_large_320_fpn" in printed(console)


def test_verify_recognises_a_file_under_any_name(
    server: FileServer, tmp_path: Path, console: Console
) -> None:
    (tmp_path / "renamed.bin").write_bytes(CONTENT)
    assert verify(str(tmp_path / "renamed.bin"), console, server.registry()) == 0
    assert f"{NAME}, exactly as published" in printed(console)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (f"{NAME}.pt", CONTENT[:-1], "3071999 bytes, the published file has 3072000"),
        (f"{NAME}.pt", CONTENT[:-1] + b"\x00", f"the published file has {SHA256}"),
        ("mine.pt", b"x", "none of the official files"),
    ],
)
def test_verify_reports_the_difference(
    name: str,
    content: bytes,
    message: str,
    server: FileServer,
    tmp_path: Path,
    console: Console,
) -> None:
    (tmp_path / name).write_bytes(content)
    assert verify(str(tmp_path / name), console, server.registry()) == 1
    assert message in printed(console)


def test_verify_of_a_missing_file_is_one_clear_line(tmp_path: Path, console: Console) -> None:
    with pytest.raises(MaskletError, match="cannot read .*: No such file"):
        verify(str(tmp_path / "none.pt"), console)


@pytest.mark.parametrize("changed", [False, True])
def test_file_of_a_git_repository_is_known_by_its_blob(
    server: FileServer, folder: Path, console: Console, changed: bool
) -> None:
    blob = hashlib.sha1(b"blob %d\0" % len(CONTENT) + CONTENT).hexdigest()
    edgetam = OfficialCheckpoint("edgetam", server.url, 2 * len(CONTENT), git_blob=blob)
    registry = {"edgetam": edgetam}
    if changed:
        server.content = CONTENT[:-1] + b"?"
        with pytest.raises(DownloadError, match="not the published file"):
            pull("edgetam", console, registry)
        assert list(folder.iterdir()) == []
        return
    pull("edgetam", console, registry)
    pull("edgetam", console, registry)
    assert "already here and intact" in printed(console)
    assert verify(str(folder / "edgetam.pt"), console, registry) == 0
    (folder / "edgetam.pt").write_bytes(b"?")
    assert verify(str(folder / "edgetam.pt"), console, registry) == 1
    assert "not edgetam as published" in printed(console)


def test_list_shows_what_is_here(server: FileServer, folder: Path, console: Console) -> None:
    pull(NAME, console, server.registry())
    list_checkpoints(console, OFFICIAL_CHECKPOINTS)
    lines = printed(console).splitlines()
    embedded = [line.split() for line in lines if line.endswith("embedded")]
    assert embedded == [["nano", "embedded"]]
    assert any(line.startswith("sam2_hiera_large") and "898" in line for line in lines)
    list_checkpoints(console, server.registry())
    assert str(folder / f"{NAME}.pt") in printed(console)


def test_official_files_lie_where_they_are_published() -> None:
    others = dict(OFFICIAL_CHECKPOINTS)
    edgetam = others.pop("edgetam")
    assert edgetam.url.startswith("https://github.com/facebookresearch/EdgeTAM/")
    assert (edgetam.hub_name, len(edgetam.git_blob)) == ("facebook/EdgeTAM", 40)
    assert len(others) == 12
    for name in [name for name in others if name.startswith("efficienttam")]:
        published = others.pop(name)
        base = "https://huggingface.co/yunyangx/efficient-track-anything/resolve/main"
        assert published.url == f"{base}/{name}.pt"
        assert re.fullmatch("[0-9a-f]{64}", published.sha256)
    for name, checkpoint in others.items():
        folder = "092824" if name.startswith("sam2.1") else "072824"
        base = "https://dl.fbaipublicfiles.com/segment_anything_2"
        assert checkpoint.url == f"{base}/{folder}/{name}.pt"
        assert re.fullmatch("[0-9a-f]{64}", checkpoint.sha256)
