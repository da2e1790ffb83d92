"""The optimiser, the moving average of the weights, and the exchange between processes."""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor, nn
from torch import distributed as dist

from tracker.model.precision import lacks_bfloat16
from tracker.training.recipe import Recipe

_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


class BatchedMuon(torch.optim.Muon):
    """Muon with the RMS of AdamW's steps; matrices of one shape are orthogonalised together.

    PyTorch orthogonalises them one by one, which is six times slower for many small matrices, a
    tenth of a whole step. Takes no closure.
    """

    @torch.no_grad()
    def step(self, closure: object = None) -> None:  # type: ignore[override]
        """Apply the gradients."""
        del closure
        for group in self.param_groups:
            by_shape: defaultdict[torch.Size, list[Tensor]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape[parameter.shape].append(parameter)
            for shape, matrices in by_shape.items():
                update = orthogonalise(
                    torch.stack([self._direction(each, group["momentum"]) for each in matrices])
                )
                rate = group["lr"] * 0.2 * max(shape) ** 0.5
                for matrix, change in zip(matrices, update, strict=True):
                    matrix.mul_(1 - group["lr"] * group["weight_decay"])
                    matrix.add_(change, alpha=-rate)

    def _direction(self, matrix: Tensor, momentum: float) -> Tensor:
        """Nesterov momentum from the gradient and its running mean."""
        assert matrix.grad is not None
        state = self.state[matrix]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(matrix)
        mean: Tensor = state["momentum_buffer"]
        mean.lerp_(matrix.grad, 1 - momentum)
        return matrix.grad.lerp(mean, momentum)


def fast_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device has units for it, otherwise float32.

    A processor without them multiplies bfloat16 up to 50 times slower, one with them twice as fast.
    """
    if device.type == "cuda":
        return torch.float32 if lacks_bfloat16(device) else torch.bfloat16
    units = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if units else torch.float32


def orthogonalise(matrix_nAB: Tensor, iterations: int = 5) -> Tensor:
    """Move singular values near 1 by Newton-Schulz iteration; bfloat16 is exact enough."""
    tall = matrix_nAB.shape[1] > matrix_nAB.shape[2]
    x = (matrix_nAB.mT if tall else matrix_nAB).to(fast_dtype(matrix_nAB.device))
    x = x / x.flatten(1).norm(dim=1).clamp(min=1e-7)[:, None, None]
    a, b, c = _NEWTON_SCHULZ
    for _ in range(iterations):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


class Optimiser:
    """AdamW, or Muon (orthogonalised momentum) for the matrices and AdamW for the rest."""

    def __init__(self, model: nn.Module, recipe: Recipe) -> None:
        matrices, decayed, plain, trunk = [], [], [], []
        for name, parameter in model.named_parameters():
            if recipe.trunk_rate != 1 and name.startswith("image_encoder.trunk."):
                trunk.append(parameter)
                continue
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
        if trunk:
            groups.append(
                {
                    "params": trunk,
                    "weight_decay": recipe.weight_decay,
                    "rate_share": recipe.trunk_rate,
                }
            )
        self.parts: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.98))
        ]
        if matrices:
            self.parts.append(
                BatchedMuon(
                    matrices,
                    lr=1e-3,
                    weight_decay=recipe.weight_decay,
                    momentum=0.95,
                )
            )

    def step(self, learning_rate: float) -> None:
        """Apply the gradients and clear them."""
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = learning_rate * group.get("rate_share", 1.0)
            part.step()
            part.zero_grad(set_to_none=True)

    def state(self) -> list[dict[str, object]]:
        """The state to save."""
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
        """Move towards the model; faster in the first steps, to forget the initial weights."""
        decay = min(self.decay, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, parameter in model.state_dict().items():
                self.weights[name].lerp_(parameter, 1 - decay)


def share_gradients(model: nn.Module, stop: bool) -> bool:
    """Average gradients over the processes; True if any of them wants to stop.

    A single all-reduce, which includes the request to stop, so that no process waits for one that
    has left.
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
