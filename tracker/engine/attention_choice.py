"""Chooses the kernel of memory attention on this device by measuring the candidates.

``sdpa``: PyTorch's fused kernel, with values projected to the keys' width first. ``flex``:
FlexAttention, compiled, with narrow values. ``triton``: our own kernel, in several block sizes. A
kernel that does not compile, or whose result differs, is left out.

Dimensions: N rows, L queries, S keys, C channels, c channels of the values.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import cache, partial

import torch
from torch import Tensor
from torch.nn import functional as F

from tracker.model.memory_attention import MemoryAttention, MemoryAttentionLayer, NarrowAttention
from tracker.options import Attention

_log = logging.getLogger(__name__)

# Relative to the largest value; bfloat16 keeps 8 bits, and kernels round the softmax differently.
_TOLERANCE = 0.02
_RUNS = 10
# Bound on the shapes FlexAttention is compiled for: more than a warm-up has, over all image sizes.
# Beyond PyTorch's default of 8, others would run uncompiled and hold the scores of all keys.
_MOST_SHAPES = 1024

Timer = Callable[[Callable[[], Tensor]], float]


def candidates(wanted: Attention) -> dict[str, NarrowAttention]:
    """The kernels other than PyTorch's, by name; fewer where triton is not installed."""
    found: dict[str, NarrowAttention] = {}
    if wanted in ("auto", "triton"):
        try:
            from tracker.engine import triton_attention
        except ImportError:
            _log.warning("triton is not installed: its attention kernel is left out")
        else:
            for blocks in triton_attention.BLOCKS:
                name = f"triton {blocks.queries}x{blocks.keys}"
                found[name] = partial(triton_attention.attend_narrow, blocks=blocks)
    if wanted in ("auto", "flex"):
        found["flex"] = flex_attend
    return found


def choose(
    attention: MemoryAttention,
    kernels: Mapping[str, NarrowAttention],
    sizes: tuple[int, int, int],
    dtype: torch.dtype,
    device: torch.device,
    time_of: Timer | None = None,
    must: bool = False,
) -> str:
    """Set the fastest kernel for ``sizes`` (queries, spatial keys, plain keys) -> its name.

    ``must``: use PyTorch's kernel only if no other works. ``time_of``: measures a call in seconds.
    """
    first = attention.layers[0]
    assert isinstance(first, MemoryAttentionLayer)
    projection = first.cross_attn_image.v_proj
    queries, spatial, plain = sizes
    generator = torch.Generator(device).manual_seed(0)

    def random(length: int, channels: int) -> Tensor:
        return torch.randn(1, length, channels, generator=generator, device=device, dtype=dtype)

    query, key = (
        random(queries, projection.out_features),
        random(spatial + plain, projection.out_features),
    )
    value = random(spatial + plain, projection.in_features)

    def fused() -> Tensor:
        return F.scaled_dot_product_attention(
            query[:, None], key[:, None], projection(value)[:, None]
        )[:, 0]

    measure = partial(_seconds, device=device) if time_of is None else time_of
    expected = fused()
    times = {} if must else {"sdpa": measure(fused)}
    for name, kernel in kernels.items():

        def narrow(kernel: NarrowAttention = kernel) -> Tensor:
            attended: Tensor = projection(kernel(query, key, value, plain, None))
            return attended

        try:
            difference = float((narrow() - expected).abs().max() / expected.abs().max())
            if difference > _TOLERANCE:
                _log.warning("attention by %s is off by %.3f and is left out", name, difference)
                continue
            times[name] = measure(narrow)
        except _refusals() as error:
            _log.warning("attention by %s is left out: %s", name, error)
    chosen = min(times, key=lambda name: times[name]) if times else "sdpa"
    use(attention, kernels.get(chosen))
    _log.info("attention by %s; seconds a call: %s", chosen, times)
    return chosen


def use(attention: MemoryAttention, kernel: NarrowAttention | None) -> None:
    """Set the memory attention kernel of all layers; None is PyTorch's own."""
    for layer in attention.layers:
        assert isinstance(layer, MemoryAttentionLayer)
        layer.cross_attn_image.narrow = kernel


def _refusals() -> tuple[type[Exception], ...]:
    """Errors of a kernel that does not compile or does not fit: Triton has its own types."""
    known = (RuntimeError, ValueError, TypeError)
    try:
        from triton.errors import TritonError
    except ImportError:
        return known
    return (*known, TritonError)


def flex_attend(
    query_NLC: Tensor, key_NSC: Tensor, value_NSc: Tensor, _: int, valid_NS: Tensor | None
) -> Tensor:
    """Softmax attention by FlexAttention (arXiv 2412.05496), compiled for each shape."""
    score_mod = None
    if valid_NS is not None:
        valid = valid_NS

        def score_mod(
            score: Tensor, row: Tensor, _head: Tensor, _query: Tensor, key: Tensor
        ) -> Tensor:
            return torch.where(valid[row, key], score, -torch.inf)

    attended: Tensor = _compiled_flex()(
        query_NLC[:, None],
        key_NSC[:, None],
        value_NSc.to(query_NLC.dtype)[:, None],
        score_mod=score_mod,
    )[:, 0]
    return attended


@cache
def _compiled_flex() -> Callable[..., Tensor]:
    from torch._dynamo import config as limits
    from torch.nn.attention.flex_attention import flex_attention

    limits.recompile_limit = max(limits.recompile_limit, _MOST_SHAPES)
    limits.accumulated_recompile_limit = max(limits.accumulated_recompile_limit, _MOST_SHAPES)
    compiled: Callable[..., Tensor] = torch.compile(flex_attention, dynamic=False)
    return compiled


def _seconds(call: Callable[[], Tensor], device: torch.device) -> float:
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
