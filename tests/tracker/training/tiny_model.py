"""A network small enough to train inside a test."""

from __future__ import annotations

from tracker.config import HieraConfig, ModelConfig

# 64-pixel images, 4 x 4 tokens, 32 channels.
TINY = ModelConfig(
    name="tiny",
    image_size=64,
    trunk=HieraConfig(16, 1, (1, 1, 1, 1), (), (4, 4, 4, 2), (4, 4)),
    hidden_dim=32,
    memory_dim=16,
    memory_attention_layers=1,
    memory_attention_feed_forward=32,
    decoder_heads=4,
    decoder_feed_forward=32,
    iou_head_hidden=32,
)
