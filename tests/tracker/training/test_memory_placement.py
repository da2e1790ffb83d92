"""An initialised memory propagates a mask to the next frame before any training on clips."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from tracker.config import ModelConfig
from tracker.model.layers import tokens_from_grid
from tracker.model.memory_attention import MemoryTokens
from tracker.model.sam2 import Sam2
from tracker.training.assets import load_assets
from tracker.training.compose import compose
from tracker.training.initialise import place_memory, place_prompts
from tracker.training.unroll import normalise


def carried(model: Sam2, seed: int) -> float:
    """Correlation of the mask with its best linear trace in the conditioned second frame."""
    generator = torch.Generator().manual_seed(seed)
    batch = compose(load_assets(None), generator, 16, 2, 1, 128, 0.2)
    seen = batch.masks_BTKSS[:, :, 0].flatten(2).sum(2).amin(1) > 300
    images, masks = batch.images_BT3SS[seen], batch.masks_BTKSS[seen, :, 0]
    first = model.encode_image(normalise(images[:, 0])).stride16_BCHW
    second = model.encode_image(normalise(images[:, 1])).stride16_BCHW
    scaled = masks[:, :1].float() * 20 - 10
    spatial = model.encode_memory(first, scaled, seen[seen])
    nothing = spatial[:, :0]

    def conditioned(memory: Tensor) -> Tensor:
        code = model.memory_position().expand_as(memory)
        tokens = MemoryTokens(memory, code, nothing, nothing)
        return tokens_from_grid(model.attend(second, tokens))

    # What the mask changed: the same frame, with the memory of an empty mask taken away.
    empty = model.encode_memory(first, torch.full_like(scaled, -10), seen[seen])
    trace = conditioned(spatial) - conditioned(empty)
    share = F.adaptive_avg_pool2d(masks[:, 1:].float(), first.shape[-1]).flatten(1)
    direction = trace[share > 0.5].mean(0) - trace[share < 0.05].mean(0)
    read = (trace @ direction).flatten()
    return float(torch.corrcoef(torch.stack((read, share.flatten())))[0, 1])


@torch.no_grad()
def test_an_initialised_memory_propagates_masks(tiny_config: ModelConfig) -> None:
    torch.manual_seed(0)
    model = Sam2(tiny_config.replaced(image_size=128, hidden_dim=64, memory_dim=64)).eval()
    place_prompts(model)
    before = carried(model, 3)
    generator = torch.Generator().manual_seed(1)
    batch = compose(load_assets(None), generator, 24, 1, 1, 128, 1.0)
    images = normalise(batch.images_BT3SS[:, 0])
    place_memory(model, images, batch.masks_of_frame(0), generator)
    after = carried(model, 3)
    assert after > 0.5
    assert after > before + 0.1
