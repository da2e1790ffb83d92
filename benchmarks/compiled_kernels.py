"""Compiles every Triton kernel for devices that need not be there, and reports what each takes.

Registers of a thread, bytes that spill from them (the stack), and shared memory of a program: a
kernel that spills, or fits into no device, shows here. Triton brings the assemblers of all of them.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import NamedTemporaryFile
from types import SimpleNamespace
from typing import Any, NamedTuple

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from tracker.engine.attention_choice import BLOCKS, WIDE_BLOCKS
from tracker.engine.triton_attention import Blocks, _attend, _combine
from tracker.engine.triton_mixer import STAGES, UNITS, _mix_channels, block_of
from tracker.engine.triton_rows import _add_norm, _memory_keys, _rotate
from tracker.engine.triton_windows import _add_norm_windows
from tracker.masks.triton_packing import BYTES, ROWS, _pack

# Shared memory that a block may have, in bytes, by ten times the compute capability.
SHARED_BYTES = {80: 166_912, 89: 101_376, 90: 232_448, 100: 232_448}
CHANNELS, NARROW = 256, 64  # of SAM 2 and EdgeTAM: keys and memories
HALF, FLOAT, INT = "*bf16", "*fp32", "i32"


class Kernel(NamedTuple):
    """A Triton function with the types of its arguments, in order, and its constants."""

    name: str
    function: Any
    types: tuple[str, ...]
    constants: dict[str, int | bool]
    warps: int = 4
    stages: int = 3


class Usage(NamedTuple):
    """What one compiled kernel takes."""

    registers: int
    spilled_bytes: int
    shared_bytes: int
    assembly: str


class Device(SimpleNamespace):
    """What Triton asks its driver when it compiles."""

    def __init__(self, capability: int) -> None:
        super().__init__(
            get_current_device=lambda: 0,
            get_current_stream=lambda _: 0,
            get_current_target=lambda: GPUTarget("cuda", capability, 32),
        )


def attention(blocks: Blocks, narrow: int, *, split: bool) -> Kernel:
    """The attention kernel for rows with their own counts of keys."""
    values = "narrow" if narrow < CHANNELS else "wide"
    parts = (FLOAT if split else HALF, FLOAT, FLOAT)
    return Kernel(
        f"attention {blocks.queries}x{blocks.keys}, {values} values{', split' if split else ''}",
        _attend,
        (*(HALF,) * 3, "*i32", *parts, *(INT,) * 4, "fp32"),
        {
            "CHANNELS": CHANNELS,
            "NARROW": narrow,
            "QUERIES": blocks.queries,
            "KEYS": blocks.keys,
            "COUNTED": True,
            "SPLIT": split,
        },
        blocks.warps,
        blocks.stages,
    )


def others() -> Iterator[Kernel]:
    """All but attention, with the constants that their callers pass."""
    for narrow in (NARROW, CHANNELS):
        constants = {"NARROW": narrow, "QUERIES": 16}
        yield Kernel(
            f"combine parts of {narrow} channels",
            _combine,
            (*(FLOAT,) * 3, HALF, INT, INT),
            constants,
        )
    rows = {"CHANNELS": CHANNELS, "TOKENS": 16}
    types = (HALF, FLOAT, HALF, INT, INT)
    yield Kernel("rotate queries", _rotate, types, {"PARTS": 1} | rows)
    yield Kernel("rotate queries and keys", _rotate, types, {"PARTS": 2} | rows)
    yield Kernel(
        "add and norm", _add_norm, (FLOAT, HALF, *(FLOAT,) * 3, HALF, INT, INT, "fp32"), rows
    )
    yield Kernel(
        "memory keys",
        _memory_keys,
        (HALF, *(FLOAT,) * 3, HALF, HALF, FLOAT, HALF, *(INT,) * 3),
        {"CHANNELS": CHANNELS, "NARROW": NARROW, "KEYS": 32},
        warps=8,
    )
    yield Kernel(
        "pack masks",
        _pack,
        (FLOAT, "*i64", "*u8", "*i32", INT, INT),
        {"ROWS": ROWS, "BYTES": BYTES},
    )
    # tiny: its widest map, and the widest windows beyond an edge.
    for channels, window in ((96, 8), (384, 14)):
        wide = triton.next_power_of_2(channels)
        constants = {"CHANNELS": channels, "WIDE": wide, "TOKENS": 4096 // wide, "WINDOW": window}
        yield Kernel(
            f"add, norm and windows of {channels} channels",
            _add_norm_windows,
            (*(HALF,) * 6, *(INT,) * 4, "fp32"),
            {"ADDS": True, "X_WINDOW": 0, "UPDATE_WINDOW": window, **constants},
        )
    # EdgeTAM: its narrowest and its widest map.
    for channels in (48, 384):
        wide, tokens = block_of(channels)
        constants = {"CHANNELS": channels, "WIDE": wide, "HIDDEN": 2 * channels, "UNITS": UNITS}
        yield Kernel(
            f"mix {channels} channels",
            _mix_channels,
            (*(HALF,) * 7, INT, INT),
            {"SCALED": True, "TOKENS": tokens, **constants},
            stages=STAGES,
        )


def every() -> Iterator[Kernel]:
    """Every kernel that a device may run, once for each block size."""
    for all_blocks, narrow in ((BLOCKS, NARROW), (WIDE_BLOCKS, CHANNELS)):
        for blocks in all_blocks:
            for split in (False, True):
                yield attention(blocks, narrow, split=split)
    yield from others()


def compiled(kernel: Kernel, architecture: int) -> Usage:
    """Compile for ``sm_<architecture>``."""
    names = [name for name in kernel.function.arg_names if name not in kernel.constants]
    types = dict(zip(names, kernel.types, strict=True))
    # PyTorch's memory begins at multiples of 16 bytes and more.
    aligned = {
        (place,): [["tt.divisibility", 16]]
        for place, name in enumerate(kernel.function.arg_names)
        if types.get(name, "").startswith("*")
    }
    source = ASTSource(
        fn=kernel.function,
        signature={name: types.get(name, "constexpr") for name in kernel.function.arg_names},
        constexprs=kernel.constants,
        attrs=aligned,
    )
    made = triton.compile(
        source,
        target=GPUTarget("cuda", architecture, 32),
        options={"num_warps": kernel.warps, "num_stages": kernel.stages},
    )
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    with NamedTemporaryFile(suffix=".cubin") as file:
        file.write(made.asm["cubin"])
        file.flush()
        command = [str(tool), "--dump-resource-usage", file.name]
        listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+)", listing)
    assert found, listing
    return Usage(int(found[1]), int(found[2]), made.metadata.shared, made.asm["ptx"])


def main() -> int:
    """Print the table as markdown: registers, spilled bytes, KiB of shared memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--architectures", nargs="+", type=int, default=list(SHARED_BYTES), choices=SHARED_BYTES
    )
    architectures = parser.parse_args().architectures
    sys.stdout.write(f"| kernel | {' | '.join(f'sm_{each}' for each in architectures)} |\n")
    sys.stdout.write("|---" * (1 + len(architectures)) + "|\n")
    for kernel in every():
        cells = []
        for architecture in architectures:
            usage = compiled(kernel, architecture)
            fits = "" if usage.shared_bytes <= SHARED_BYTES[architecture] else " (too much)"
            cells.append(
                f"{usage.registers}, {usage.spilled_bytes}, {usage.shared_bytes >> 10}{fits}"
            )
        sys.stdout.write(f"| {kernel.name} | {' | '.join(cells)} |\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
