"""Patched aiortc: limits on what a peer costs, and the version the patches support."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import AsyncIterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpSender
from aiortc.rtp import RTCP_RTPFB_NACK, RTP_HISTORY_SIZE, RtcpRtpfbPacket, RtpPacket

from streamer.webrtc import aiortc_patches, ice_connection
from streamer.webrtc.aiortc_patches import (
    RETRANSMISSIONS_PER_S,
    BoundedNackGenerator,
    limit_retransmissions,
    on_rtcp,
)
from streamer.webrtc.frame_assembler import FrameAssembler
from tests.streamer.fakes import FakeClock

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("library", ["aiortc", "aioice"])
def test_patched_library_is_pinned_to_the_version_that_runs(library: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"{library}=={version(library)}" in project["dependencies"]


@pytest.mark.parametrize(
    ("library", "module"), [("aiortc", aiortc_patches), ("aioice", ice_connection)]
)
def test_library_has_the_private_names_that_are_patched(library: str, module: object) -> None:
    tree = ast.parse(Path(str(module.__file__)).read_text())
    functions = [
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    # What the file makes itself: its functions, and what its constructors assign.
    own = {function.name for function in functions} | {
        node.attr
        for function in functions
        if function.name == "__init__"
        for node in ast.walk(function)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
    }
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and re.match(r"_[a-z]", node.attr)
    }
    spec = find_spec(library)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    folder = Path(spec.submodule_search_locations[0])
    text = "\n".join(path.read_text() for path in folder.rglob("*.py"))
    assert used - own
    missing = {name for name in used if not re.search(rf"\b{name}\b", text)} - own
    assert not missing


def test_no_other_file_reaches_inside_aiortc_or_aioice() -> None:
    patched = {
        "_connection", "_handle_rtcp_packet", "_handle_rtp_data", "_handle_rtcp_data",
        "_nominated", "_retransmit", "_run_rtp", "_send_keyframe", "_network_host",
    }  # fmt: skip
    allowed = {"aiortc_patches.py", "ice_connection.py"}
    for path in (ROOT / "streamer").rglob("*.py"):
        if path.name in allowed:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in patched:
                assert isinstance(node.value, ast.Name), path
                assert node.value.id == "self", path


@pytest.fixture
def assembler() -> FrameAssembler:
    return FrameAssembler({}, lambda picture: None, lambda: None)


def packet(sequence_number: int, ssrc: int = 1) -> RtpPacket:
    made = RtpPacket(payload_type=96, sequence_number=sequence_number & 0xFFFF)
    made.ssrc = ssrc
    return made


def test_gap_is_asked_for(assembler: FrameAssembler) -> None:
    nack = BoundedNackGenerator(assembler)
    assert not nack.add(packet(65_534))
    assert nack.add(packet(2))
    assert nack.missing == {65_535, 0, 1}
    assert not nack.add(packet(0))
    assert nack.missing == {65_535, 1}


@pytest.mark.parametrize("jump", [RTP_HISTORY_SIZE + 1, 32_767, 40_000, 65_000])
def test_jump_begins_a_new_sequence(assembler: FrameAssembler, jump: int) -> None:
    nack = BoundedNackGenerator(assembler)
    nack.add(packet(0))
    assert nack.add(packet(3))
    assert not nack.add(packet(3 + jump))
    assert not nack.missing
    assert nack.add(packet(3 + jump + 2))
    assert nack.missing == {(3 + jump + 1) & 0xFFFF}


def test_other_sources_leave_no_gaps(assembler: FrameAssembler) -> None:
    nack = BoundedNackGenerator(assembler)
    assembler.ssrc = 1
    nack.add(packet(0))
    assert not nack.add(packet(10, ssrc=2))
    assert not nack.add(packet(1))
    assert not nack.missing


@pytest.fixture
async def sender() -> AsyncIterator[RTCRtpSender]:
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    yield connection.addTransceiver("video", direction="sendonly").sender
    await connection.close()


def nack(lost: list[int]) -> RtcpRtpfbPacket:
    return RtcpRtpfbPacket(fmt=RTCP_RTPFB_NACK, ssrc=1, media_ssrc=2, lost=lost)


@pytest.fixture
def sent_again(sender: RTCRtpSender) -> list[int]:
    again: list[int] = []

    async def note(sequence_number: int) -> None:
        again.append(sequence_number)

    sender._retransmit = note
    return again


async def test_what_is_asked_for_twice_is_sent_again_once(
    sender: RTCRtpSender, sent_again: list[int]
) -> None:
    on_rtcp(sender, lambda: None)
    await sender._handle_rtcp_packet(nack([5, 6, 5, 6, 5]))
    assert sent_again == [5, 6]
    await sender._handle_rtcp_packet(nack(list(range(6000))))
    assert len(sent_again) == 2 + RTP_HISTORY_SIZE


async def test_retransmissions_are_limited_in_each_second(
    sender: RTCRtpSender, sent_again: list[int]
) -> None:
    clock = FakeClock()
    limit_retransmissions(sender, clock)
    for _ in range(100):
        await sender._handle_rtcp_packet(nack(list(range(100))))
    assert len(sent_again) == RETRANSMISSIONS_PER_S
    clock.advance(1.0)
    await sender._handle_rtcp_packet(nack([7]))
    assert sent_again[-1] == 7
    assert len(sent_again) == RETRANSMISSIONS_PER_S + 1
