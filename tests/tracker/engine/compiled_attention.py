"""Compiles the Triton kernel for a GPU that need not be there; a program of its own."""

from __future__ import annotations

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from tracker.engine.triton_attention import BLOCKS, _attend

# Hopper: compute capability 9.0, 227 KiB of shared memory a block may have.
TARGET = GPUTarget("cuda", 90, 32)
SHARED_BYTES = 227 * 1024

if __name__ == "__main__":
    blocks = BLOCKS[0]
    pointers = dict.fromkeys(("query", "key", "value", "out"), "*bf16") | {"real": "*i32"}
    numbers = dict.fromkeys(("length", "keys", "spatial"), "i32") | {"scale": "fp32"}
    constants = {
        "CHANNELS": 256,
        "NARROW": 64,
        "QUERIES": blocks.queries,
        "KEYS": blocks.keys,
        "COUNTED": True,
    }
    source = ASTSource(
        fn=_attend,
        signature=pointers | numbers | dict.fromkeys(constants, "constexpr"),
        constexprs=constants,
    )
    kernel = triton.compile(
        source,
        target=TARGET,
        options={"num_warps": blocks.warps, "num_stages": blocks.stages},
    )
    assert kernel.metadata.shared <= SHARED_BYTES, kernel.metadata.shared
    assert "wgmma" in kernel.asm["ptx"]  # the products of its matrix units
    print(kernel.metadata.shared)
