"""Chooses the paths of a processor (``model.cpu_paths``) by measuring them, in about a second.

The measurement decides, not the name of an instruction set: which library is faster depends on the
maker, the units and the caches of the processor. It has the shapes of the model, cut to the size of
a fraction of a second, and takes the processor time of one thread: unlike wall clock and several
threads, that hardly depends on what else runs while a daemon starts.

Dimensions: L queries, S keys, C channels, c channels of memories.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from tracker.config import ModelConfig
from tracker.model.chunked_attention import attend_in_chunks
from tracker.model.cpu_paths import (
    BY_MKL,
    BY_ONEDNN,
    FUSED,
    ONEDNN_IS_HERE,
    AttentionPath,
    CpuPaths,
    Library,
)
from tracker.model.onednn_linear import onednn_linear

Milliseconds = dict[str, dict[str, float]]
Clock = Callable[[], float]
Call = Callable[[], Tensor]

# Bounds on what is measured: beyond them the order no longer changes.
_MOST_QUERIES, _MOST_KEYS = 1024, 4096
# Time for each of the three choices; every candidate runs twice at least.
_LIMIT_S = 0.3
_LEAST_ROUNDS, _MOST_ROUNDS = 2, 8

LINEAR: tuple[Library, ...] = ("mkl", "onednn") if ONEDNN_IS_HERE else ("mkl",)
# No smaller pieces by MKL: one thread, which is measured, is as fast with them; two are not.
_CHUNKS = (BY_MKL, *((BY_ONEDNN,) if ONEDNN_IS_HERE else ()))
ATTENTION = (FUSED, *_CHUNKS)


@dataclass(frozen=True, slots=True)
class PathChoice:
    """The fastest paths, and the time of every candidate, least of a few runs.

    ``milliseconds``: by choice (``linear``, ``narrow``, ``wide``, parts of the network), then by
    candidate. ``openvino``: the parts that OpenVINO computes; None: it was not measured.
    """

    paths: CpuPaths
    milliseconds: Milliseconds
    openvino: tuple[str, ...] | None = None

    def with_parts(self, milliseconds: Milliseconds) -> PathChoice:
        """This choice and that between ``torch`` and ``openvino`` for parts of the network."""
        faster = (name for name, ms in milliseconds.items() if ms["openvino"] < ms["torch"])
        return PathChoice(self.paths, self.milliseconds | milliseconds, tuple(faster))

    def by_pytorch(self) -> PathChoice:
        """This choice with all parts of the network by PyTorch."""
        own = {name: self.milliseconds[name] for name in ("linear", "narrow", "wide")}
        return PathChoice(self.paths, own)

    def reasons(self) -> dict[str, str]:
        """What was chosen, a line for each choice, and why: the times measured."""
        titles = {
            "linear": "linear layers",
            "narrow": "attention to memories",
            "wide": "attention within a frame",
        }
        reasons = {
            f"{title} by {getattr(self.paths, name)}": _in_order(self.milliseconds[name])
            for name, title in titles.items()
        }
        parts = {
            "encode_image": "image encoder",
            "attend_memory": "memory attention",
            "decode": "mask decoder",
            "finish_memory": "memory encoder",
        }
        for name, title in parts.items():
            if name in self.milliseconds:
                library = "openvino" if name in (self.openvino or ()) else "torch"
                reasons[f"{title} by {library}"] = _in_order(self.milliseconds[name])
        return reasons


def _in_order(milliseconds: Mapping[str, float]) -> str:
    times = sorted(milliseconds.items(), key=lambda each: each[1])
    return ", ".join(f"{name} {each:.2f} ms" for name, each in times)


@torch.inference_mode()
def measure(config: ModelConfig, clock_s: Clock = time.thread_time) -> PathChoice:
    """Measure every path at the shapes of a model."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    width, memory_width = config.hidden_dim, config.memory_dim
    tokens = config.grid_size**2
    query_LC = random(min(tokens, _MOST_QUERIES), width)
    key_SC = random(min(tokens * config.num_maskmem, _MOST_KEYS), width)
    value_Sc = random(len(key_SC), memory_width)
    own_SC = key_SC[:tokens]
    project_Cc = random(width, memory_width)
    weight_OC = random(config.memory_attention_feed_forward, width)
    paths = {str(path): path for path in (FUSED, *_CHUNKS)}

    linear: dict[str, Call] = {"mkl": lambda: F.gelu(F.linear(query_LC, weight_OC))}
    if ONEDNN_IS_HERE:
        linear["onednn"] = lambda: onednn_linear(query_LC, weight_OC, None, "gelu")
    narrow: dict[str, Call] = {
        name: partial(_attend, query_LC, key_SC, value_Sc, project_Cc, path)
        for name, path in paths.items()
    }
    wide: dict[str, Call] = {
        name: partial(_attend, query_LC, own_SC, own_SC, None, path) for name, path in paths.items()
    }
    times = {
        name: _least_ms(candidates, clock_s)
        for name, candidates in (("linear", linear), ("narrow", narrow), ("wide", wide))
    }
    fastest = {name: min(each, key=lambda name: each[name]) for name, each in times.items()}
    return PathChoice(
        CpuPaths(
            "onednn" if fastest["linear"] == "onednn" else "mkl",
            paths[fastest["narrow"]],
            paths[fastest["wide"]],
        ),
        times,
    )


def _attend(
    query_LC: Tensor,
    key_SC: Tensor,
    value_Sc: Tensor,
    project_Cc: Tensor | None,
    path: AttentionPath,
) -> Tensor:
    """Attention and the projection of values: before the fused kernel, or after the chunks."""
    if path == FUSED:
        value_SC = value_Sc if project_Cc is None else F.linear(value_Sc, project_Cc)
        return F.scaled_dot_product_attention(
            query_LC[None, None], key_SC[None, None], value_SC[None, None]
        )
    attended = attend_in_chunks(query_LC[None], key_SC[None], value_Sc[None], path)
    return attended if project_Cc is None else F.linear(attended, project_Cc)


def _least_ms(candidates: Mapping[str, Call], clock_s: Clock) -> dict[str, float]:
    """The least time of each, in alternating rounds."""
    least = dict.fromkeys(candidates, float("inf"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        end_s = clock_s() + _LIMIT_S
        for number in range(_MOST_ROUNDS):
            if number >= _LEAST_ROUNDS and clock_s() > end_s:
                break
            for name, call in candidates.items():
                began_s = clock_s()
                call()
                least[name] = min(least[name], 1000 * (clock_s() - began_s))
    finally:
        torch.set_num_threads(threads)
    return least
