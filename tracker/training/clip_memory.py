"""The memories within a training clip, and their ages.

The prompted frame is always kept; of the others the last six frames and the pointers of the last
fifteen, as in SAM 2, or each object's last visible frames, as in the robust policy.

Dimensions: T frames, N objects, C hidden, c memory width, L grid tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from tracker.memory.bank import LARGEST_POINTER_AGE
from tracker.model.memory_attention import MemoryTokens
from tracker.model.sam2 import Sam2

_FAR_PROMPT_SHARE = 0.6
_GAPS_SHARE = 0.4
_LARGEST_GAP = 3


@dataclass(slots=True)
class ClipMemory:
    """The memories of the frames so far; index 0 is the prompted frame.

    ``times``: frame numbers, as the tracker would assign them. ``visible_N``: for each frame,
    whether the tracker believed each object to be visible.
    """

    times: list[int]
    spatial_NLc: list[Tensor] = field(default_factory=list)
    pointer_NC: list[Tensor] = field(default_factory=list)
    visible_N: list[Tensor] = field(default_factory=list)

    def tokens(self, model: Sam2, kept: list[int]) -> MemoryTokens:
        """Tokens for the next frame; ``kept``: the unprompted frames to include."""
        config = model.config
        now = self.times[len(self.spatial_NLc)]
        age = [now - time for time in self.times]
        grid_code = model.memory_position()
        time_code = model.maskmem_tpos_enc.flatten(1)
        frames = [0, *(f for f in kept if age[f] <= config.recent_memories)]
        codes = [
            grid_code + time_code[config.recent_memories if f == 0 else age[f] - 1] for f in frames
        ]
        count = self.spatial_NLc[0].shape[0]
        pointers = [0, *(f for f in kept if age[f] <= config.recent_pointers)]
        ages = torch.tensor(
            [[float(min(age[f], LARGEST_POINTER_AGE)) for f in pointers]], device=grid_code.device
        )
        pieces = config.pointer_tokens
        pointer_code = model.pointer_time_code(ages).repeat_interleave(pieces, dim=1)
        pointer_NPC = torch.stack([self.pointer_NC[f] for f in pointers], dim=1)
        return MemoryTokens(
            torch.cat([self.spatial_NLc[f] for f in frames], dim=1),
            torch.cat(codes).unsqueeze(0).expand(count, -1, -1),
            pointer_NPC.unflatten(2, (pieces, -1)).flatten(1, 2),
            pointer_code.expand(count, -1, -1),
        )

    def tokens_in_sight(self, model: Sam2, kept: list[int]) -> MemoryTokens:
        """Tokens of each object's visible frames, as in the robust memory policy.

        Frames without the object take no room, so memories from before a long absence remain. An
        object with fewer memories than others uses its prompted frame again; this avoids attention
        masks, whose gradient is slow on a CPU.
        """
        config = model.config
        device = self.pointer_NC[0].device
        rows = torch.arange(len(self.pointer_NC[0]), device=device).unsqueeze(1)
        frames_NF = self._newest_in_sight(kept, config.recent_memories)
        # Whatever its age, the r-th newest has the temporal code of an age of r frames.
        code_NF = torch.arange(frames_NF.shape[1], device=device).expand_as(frames_NF) - 1
        code_NF = torch.where(frames_NF == 0, config.recent_memories, code_NF)
        spatial = torch.stack(self.spatial_NLc, dim=1)[rows, frames_NF]
        grid_code = model.memory_position()
        time_code = model.maskmem_tpos_enc.flatten(1)[code_NF]
        pointer = torch.stack(self.pointer_NC, dim=1)[rows, frames_NF]
        time = torch.tensor(self.times, device=device)
        ages = (
            (time[len(self.spatial_NLc)] - time[frames_NF]).clamp(max=LARGEST_POINTER_AGE).float()
        )
        pieces = config.pointer_tokens
        return MemoryTokens(
            spatial.flatten(1, 2),
            (grid_code + time_code.unsqueeze(2)).flatten(1, 2),
            pointer.unflatten(2, (pieces, -1)).flatten(1, 2),
            model.pointer_time_code(ages).repeat_interleave(pieces, dim=1),
        )

    def _newest_in_sight(self, kept: list[int], most: int) -> Tensor:
        """(N, F) frames: the prompted one first, then each object's visible ones, newest first.

        Padded with 0, the prompted frame.
        """
        count, device = len(self.visible_N[0]), self.visible_N[0].device
        columns = [torch.zeros(count, dtype=torch.long, device=device)]
        taken = torch.zeros(count, dtype=torch.long, device=device)
        by_age = sorted(kept, reverse=True)
        for place in range(1, most + 1):
            column, taken = torch.zeros_like(columns[0]), torch.zeros_like(taken)
            for frame in by_age:
                taken = taken + self.visible_N[frame]
                column = torch.where((taken == place) & self.visible_N[frame], frame, column)
            columns.append(column)
        frames_NF = torch.stack(columns, dim=1)
        return frames_NF[:, : 1 + int((frames_NF > 0).any(dim=0).sum())]


def frame_times(frames: int, generator: torch.Generator) -> list[int]:
    """Numbers for a clip's frames, as if it were cut from a long stream.

    The prompt may be far back, with gaps between later frames, so that the network learns ages of
    memories and pointers beyond a clip's length.
    """
    far, gaps = _number(generator) < _FAR_PROMPT_SHARE, _number(generator) < _GAPS_SHARE
    distance = LARGEST_POINTER_AGE ** _number(generator) if far else 1.0
    times = [0]
    for frame in range(1, frames):
        step = 1 + int(_LARGEST_GAP * _number(generator)) if gaps else 1
        times.append(times[-1] + (max(1, int(distance)) if frame == 1 else step))
    return times


def _number(generator: torch.Generator) -> float:
    return float(torch.rand((), generator=generator, device=generator.device))
