"""The SAM 2 network; start with ``sam2.py``."""

from tracker.model.mask_decoder import DecoderOutput
from tracker.model.memory_attention import MemoryTokens
from tracker.model.prompt_encoder import PromptEmbedding
from tracker.model.sam2 import ImageFeatures, Sam2

__all__ = ["DecoderOutput", "ImageFeatures", "MemoryTokens", "PromptEmbedding", "Sam2"]
