"""Sources of clips: each is a pure function of (seed, step, process)."""

from __future__ import annotations

from typing import Protocol

import torch

from tracker.training.assets import Assets
from tracker.training.clip import ClipBatch, join
from tracker.training.compose import Kinds, compose
from tracker.training.match_clips import MatchPool, Shares
from tracker.training.recipe import Phase


class ClipSource(Protocol):
    """Makes the clips of one step."""

    def clips(
        self, phase: Phase, motion: float, count: int, generator: torch.Generator
    ) -> ClipBatch:
        """``count`` clips for a phase."""


class ComposedClips:
    """nano's clips: cut-outs over backgrounds, and the rendered match."""

    def __init__(self, assets: Assets, pool: MatchPool | None, full_size: int) -> None:
        self.assets = assets
        self.pool = pool
        self.full_size = full_size

    def clips(
        self, phase: Phase, motion: float, count: int, generator: torch.Generator
    ) -> ClipBatch:
        """``match_share`` of the clips from the match, randomly rounded; the rest composed."""
        matches = 0
        if self.pool is not None:
            luck = float(torch.rand((), generator=generator, device=generator.device))
            matches = min(count, int(count * phase.match_share + luck))
        parts = []
        if matches and self.pool is not None:
            parts.append(
                self.pool.compose(
                    generator,
                    matches,
                    phase.frames,
                    phase.objects,
                    phase.image_size,
                    self.full_size,
                    motion,
                    Shares(phase.absence_share, phase.camera_share, phase.covered_share),
                )
            )
        if count > matches:
            parts.append(
                compose(
                    self.assets,
                    generator,
                    count - matches,
                    phase.frames,
                    phase.objects,
                    phase.image_size,
                    motion,
                    Kinds(
                        phase.hidden_share,
                        phase.small_share,
                        phase.photo_share,
                        phase.contact_share,
                    ),
                )
            )
        return join(parts)


def step_generator(seed: int, step: int, stream: int, device: torch.device) -> torch.Generator:
    """The only source of randomness of a step, so resuming needs no other state.

    ``stream``, 0..255, separates what is drawn for the same step; a process uses its rank.
    """
    mixed = (seed * 1_000_003 + step) * 256 + stream
    return torch.Generator(device).manual_seed(mixed % (1 << 62))
