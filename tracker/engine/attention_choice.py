"""Chooses how memory attention runs on this device by measuring the candidates, for each row count.

``sdpa``: PyTorch's fused kernel, with values projected to the keys' width first. ``cudnn``: that of
cuDNN, also with narrow values. ``triton``: our own kernel, in two block sizes and with keys split
over several programs when rows are few. A kernel that does not compile, or whose result differs, is
left out.

Dimensions: N rows, L queries, S keys, C channels, c channels of the values.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from tracker.engine.device_attention import DeviceAttention, Kernel, Projections, projections
from tracker.engine.triton_attention import Blocks, attend
from tracker.engine.triton_launch import compiled_together
from tracker.memory.places import Recollection
from tracker.memory.shapes import MemoryShape
from tracker.model import Sam2
from tracker.model.memory_attention import MemoryAttentionLayer, RotaryAttention

_log = logging.getLogger(__name__)

# Without cuDNN, which builds a plan for every new shape: tens of milliseconds of the host.
_SETTLED = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
# Best first, as far as it is known; the first two whose blocks fit into the device's shared memory
# are measured. Values as wide as keys leave fewer registers.
BLOCKS = (Blocks(128, 64, 8, 2), Blocks(64, 64, 4, 2), Blocks(64, 32, 4, 2), Blocks(32, 32, 4, 2))
WIDE_BLOCKS = (Blocks(64, 64, 8, 2), Blocks(64, 32, 8, 2), Blocks(32, 32, 4, 2))
_MOST_BLOCKS = 2
_SPLITS = (1, 2, 4, 8)
# Splitting is tried up to this many programs: the largest devices run about 150 at once.
_MOST_PROGRAMS = 256
# Relative root mean square; bfloat16 keeps 8 bits, and kernels round the softmax differently.
_TOLERANCE = 0.02
_RUNS = 10

Call = Callable[[], Tensor]
Timer = Callable[[Call], float]


class Offer(NamedTuple):
    """Which kernels may be chosen.

    ``only_triton``: PyTorch's only if no other works. ``cudnn``: for shapes that repeat, since it
    builds a plan for each.
    """

    only_triton: bool = False
    cudnn: bool = True


def by_pytorch(backends: list[SDPBackend], narrow: bool = False) -> Kernel:
    """A fused kernel of PyTorch's; ``narrow``: values are projected afterwards."""

    def kernel(
        around: Projections,
        query_NLC: Tensor,
        key_NSC: Tensor,
        value_NSc: Tensor,
        plain_keys: int,
        real_N2: Tensor | None,
    ) -> Tensor:
        mask = None if real_N2 is None else _mask(real_N2, key_NSC.shape[1], plain_keys)
        value = value_NSc if narrow else around.values(value_NSc)
        # A mask is not what was measured, and few kernels take one.
        with sdpa_kernel(backends if mask is None else _SETTLED):
            attended = F.scaled_dot_product_attention(
                query_NLC[:, None], key_NSC[:, None], value[:, None], mask
            )[:, 0]
        return (around.both if narrow else around.result)(attended)

    return kernel


def by_triton(blocks: Blocks, splits: int) -> Kernel:
    """Our own kernel."""

    def kernel(
        around: Projections,
        query_NLC: Tensor,
        key_NSC: Tensor,
        value_NSc: Tensor,
        plain_keys: int,
        real_N2: Tensor | None,
    ) -> Tensor:
        attended = attend(query_NLC, key_NSC, value_NSc, plain_keys, real_N2, blocks, splits)
        return around.both(attended)

    return kernel


SETTLED = by_pytorch(_SETTLED)


def candidates(
    part: RotaryAttention, rows: int, queries: int, shared_bytes: int, offer: Offer
) -> dict[str, Kernel]:
    """The kernels to measure for so many rows, by name, on a device with this shared memory."""
    channels, narrow = part.v_proj.weight.shape
    found: dict[str, Kernel] = {}
    if not offer.only_triton:
        found["sdpa"] = SETTLED
        if offer.cudnn:
            found["cudnn"] = by_pytorch([SDPBackend.CUDNN_ATTENTION])
            if narrow < channels:
                found["cudnn narrow"] = by_pytorch([SDPBackend.CUDNN_ATTENTION], narrow=True)
    item = part.v_proj.weight.element_size()
    all_blocks = BLOCKS if narrow < channels else WIDE_BLOCKS
    fitting = [
        each for each in all_blocks if item * each.elements(channels, narrow) <= shared_bytes
    ]
    for blocks in fitting[:_MOST_BLOCKS]:
        programs = rows * -(-queries // blocks.queries)
        for splits in _SPLITS:
            if splits == 1 or splits * programs <= _MOST_PROGRAMS:
                name = f"triton {blocks.queries}x{blocks.keys}"
                found[name if splits == 1 else f"{name}/{splits}"] = by_triton(blocks, splits)
    return found


def choose(
    model: Sam2,
    shape: MemoryShape,
    row_counts: Sequence[int],
    device: torch.device,
    offer: Offer,
    time_of: Timer | None = None,
) -> DeviceAttention | None:
    """Measure the kernels for memories of this shape -> the fastest for each count of rows.

    ``time_of``: measures a call in seconds. None if the device cannot run the kernels that all
    need: memory attention stays with the network.
    """
    ours = DeviceAttention(model, {1: SETTLED}, {1: SETTLED})
    config = model.config
    tokens, spatial = config.grid_size**2, shape.frames * config.memory_tokens
    plain = shape.pointers * config.pointer_tokens
    layer = model.memory_attention.layers[0]
    assert isinstance(layer, MemoryAttentionLayer)
    parts = (
        ("within a frame", layer.self_attn, tokens, 0, ours.within),
        ("to memories", layer.cross_attn_image, spatial, plain, ours.to_memory),
    )
    only_triton = Offer(only_triton=True, cudnn=False)
    try:
        with compiled_together():
            _difference(ours, shape, device)
            shared_bytes = _shared_bytes(device)
            for _, part, on_grid, plain_keys, _ in parts:
                inputs = _random_inputs(part, 1, tokens, on_grid, plain_keys)
                for kernel in candidates(part, 1, tokens, shared_bytes, only_triton).values():
                    with suppress(*refusals()):  # measuring logs the reason
                        _call(projections(part), inputs, kernel)()
        difference = _difference(ours, shape, device)
    except refusals() as error:
        _log.warning("memory attention runs without Triton: %s", error)
        return None
    if difference > _TOLERANCE:
        _log.warning("memory attention runs without Triton: it is off by %.3f", difference)
        return None
    measure = partial(_seconds, device=device) if time_of is None else time_of
    for rows in sorted(row_counts):
        for title, part, on_grid, plain_keys, kernels in parts:
            offered = candidates(part, rows, tokens, shared_bytes, offer)
            try:
                inputs = _random_inputs(part, rows, tokens, on_grid, plain_keys)
                times = _times(partial(_call, projections(part), inputs), offered, measure)
            except torch.OutOfMemoryError:
                return ours  # more rows take the kernels of fewer
            kernels[rows] = offered[min(times, key=lambda name: times[name])] if times else SETTLED
            _log.info("attention %s, %d rows, by seconds a call: %s", title, rows, _in_order(times))
    return ours


def _shared_bytes(device: torch.device) -> int:
    """Shared memory that a block may have: NVIDIA's has a greater limit for kernels that ask."""
    properties = torch.cuda.get_device_properties(device)
    return int(
        getattr(properties, "shared_memory_per_block_optin", properties.shared_memory_per_block)
    )


def _times(
    call_of: Callable[[Kernel], Call], kernels: Mapping[str, Kernel], measure: Timer
) -> dict[str, float]:
    """Seconds of each kernel that has the right result."""
    expected = call_of(SETTLED)()
    times: dict[str, float] = {}
    for name, kernel in kernels.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # PyTorch explains why a kernel is unavailable
                difference = _relative(call_of(kernel)(), expected)
                if difference > _TOLERANCE:
                    _log.warning("attention by %s is off by %.3f, left out", name, difference)
                    continue
                times[name] = measure(call_of(kernel))
        except torch.OutOfMemoryError:
            raise
        except refusals() as error:
            _log.info("attention by %s is left out: %s", name, error)
    return times


def _difference(ours: DeviceAttention, shape: MemoryShape, device: torch.device) -> float:
    """Of one random frame with memories, from the network's own way."""
    model = ours.model
    config, generator = model.config, torch.Generator(device).manual_seed(0)
    random = partial(torch.randn, generator=generator, device=device)
    side = config.grid_size
    stride16 = random(1, config.hidden_dim, side, side)
    ages = torch.arange(shape.pointers, device=device)[None]
    remembered = Recollection(
        random(1, shape.frames, config.memory_tokens, config.memory_dim),
        ages[:, :1].expand(-1, shape.frames),
        random(1, shape.pointers, config.hidden_dim),
        ages,
        None,
        None,
    )
    begun = model.begin_attention(stride16)
    expected = model.attend_memory(begun, model.memory_tokens(*remembered))
    return _relative(ours.attend(ours.begin(stride16), remembered), expected)


def _random_inputs(
    part: RotaryAttention, rows: int, tokens: int, on_grid: int, plain_keys: int
) -> tuple[Tensor, Tensor, Tensor, int, None]:
    """Queries, keys, values, the number of plain keys, and no counts."""
    weight = part.v_proj.weight
    generator = torch.Generator(weight.device).manual_seed(0)
    random = partial(torch.randn, generator=generator, device=weight.device, dtype=weight.dtype)
    keys = on_grid + plain_keys
    query, key = (random(rows, length, len(weight)) for length in (tokens, keys))
    return query, key, random(rows, keys, weight.shape[1]), plain_keys, None


def _call(
    around: Projections, inputs: tuple[Tensor, Tensor, Tensor, int, None], kernel: Kernel
) -> Call:
    return lambda: kernel(around, *inputs)


def _relative(ours: Tensor, expected: Tensor) -> float:
    """The root mean square of the difference, in that of the expected values."""
    return float((ours - expected).float().norm() / expected.float().norm())


def _mask(real_N2: Tensor, keys: int, plain_keys: int) -> Tensor:
    """Which keys are real, bool (N, 1, 1, S)."""
    place_S = torch.arange(keys, device=real_N2.device)
    plain_S = place_S - (keys - plain_keys)
    on_grid = (place_S < real_N2[:, :1]) & (plain_S < 0)
    return (on_grid | ((plain_S >= 0) & (plain_S < real_N2[:, 1:])))[:, None, None]


def _in_order(times: Mapping[str, float]) -> str:
    fastest = sorted(times.items(), key=lambda each: each[1])
    return ", ".join(f"{name} {seconds:.6f}" for name, seconds in fastest) or "sdpa, untimed"


def refusals() -> tuple[type[Exception], ...]:
    """Errors of a kernel that does not compile or does not fit: Triton has its own types."""
    from triton.errors import TritonError

    return (RuntimeError, ValueError, TypeError, TritonError)


def _seconds(call: Call, device: torch.device) -> float:
    """Device time of a call in seconds, the best of several."""
    call()
    times: list[float] = []
    stream = torch.cuda.current_stream(device)
    for _ in range(_RUNS):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record(stream)
        call()
        end.record(stream)
        end.synchronize()
        times.append(begin.elapsed_time(end) / 1000)
    return min(times)
