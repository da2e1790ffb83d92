"""The optimiser, the average of the weights over time, and gradients shared by processes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch import distributed as dist

from tracker.training.recipe import Recipe


class Optimiser:
    """AdamW, or Muon (orthogonalised momentum) for the matrices and AdamW for the rest."""

    def __init__(self, model: nn.Module, recipe: Recipe) -> None:
        matrices, decayed, plain = [], [], []
        for name, parameter in model.named_parameters():
            embeds = "embed" in name or "token" in name or "tpos_enc" in name or "ptr" in name
            if parameter.ndim < 2 or (embeds and parameter.ndim != 4) or "pos_embed" in name:
                plain.append(parameter)
            elif recipe.optimizer == "muon" and parameter.ndim == 2 and not embeds:
                matrices.append(parameter)
            else:
                decayed.append(parameter)
        groups = [
            {"params": decayed, "weight_decay": recipe.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ]
        self.parts: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.98))
        ]
        if matrices:
            self.parts.append(
                torch.optim.Muon(
                    matrices,
                    lr=1e-3,
                    weight_decay=recipe.weight_decay,
                    momentum=0.95,
                    adjust_lr_fn="match_rms_adamw",
                )
            )

    def step(self, learning_rate: float) -> None:
        """Apply the gradients and forget them."""
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = learning_rate
            part.step()
            part.zero_grad(set_to_none=True)

    def state(self) -> list[dict[str, object]]:
        """To be saved."""
        return [part.state_dict() for part in self.parts]

    def load(self, state: list[dict[str, object]]) -> None:
        """The counterpart of ``state``."""
        for part, saved in zip(self.parts, state, strict=True):
            part.load_state_dict(saved)


class Average:
    """Exponential moving average of the parameters, float32."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = {name: p.detach().clone() for name, p in model.state_dict().items()}

    def update(self, model: nn.Module, step: int) -> None:
        """Move towards the model; faster in the first steps, when the start means nothing."""
        decay = min(self.decay, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, parameter in model.state_dict().items():
                self.weights[name].lerp_(parameter, 1 - decay)


def share_gradients(model: nn.Module, stop: bool) -> bool:
    """Average gradients over the processes; True when any of them wants to stop.

    One all-reduce of everything: a stop is agreed on with the gradients, so that no process
    waits for one that has left.
    """
    if not dist.is_initialized():
        return stop
    parameters = [p for p in model.parameters() if p.requires_grad]
    pieces = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    flag = torch.tensor([float(stop)], device=pieces[0].device)
    flat = torch.cat([piece.flatten() for piece in pieces] + [flag])
    dist.all_reduce(flat)
    wants_stop = bool(flat[-1] > 0)
    flat /= dist.get_world_size()
    offset = 0
    for parameter in parameters:
        piece: Tensor = flat[offset : offset + parameter.numel()]
        parameter.grad = piece.view_as(parameter).clone()
        offset += parameter.numel()
    return wants_stop
