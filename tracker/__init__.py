"""SAM 2 as a streaming tracker, ``tracker.Tracker``, and on pictures, ``tracker.ImagePredictor``.

Knows no stream, socket, clock or configuration file. Names that need torch are imported on first
use, so that a program that only reads results starts quickly.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from tracker.config import (
    PRESETS,
    ConvolutionStage,
    EfficientNetLiteConfig,
    HieraConfig,
    ModelConfig,
    PerceiverConfig,
    RepVitConfig,
    VitConfig,
)
from tracker.errors import (
    CapacityError,
    CheckpointError,
    EmbeddingError,
    ObjectMemoryError,
    PromptError,
    SessionError,
    TrackerError,
)
from tracker.memory.object_memory import ModelIdentity, ObjectMemory
from tracker.options import EngineOptions, RobustOptions, TrackerOptions
from tracker.pictures.generator_options import GeneratorOptions
from tracker.pictures.options import PictureOptions
from tracker.types import Prompt, StepFacts, Track, TrackState

if TYPE_CHECKING:
    from tracker.images.prepared_image import PreparedImage
    from tracker.images.yuv import YuvPicture
    from tracker.pictures.delivery import PictureMasks
    from tracker.pictures.embedding_file import EmbeddingFile
    from tracker.pictures.embeddings import Embeddings
    from tracker.pictures.mask_generator import MaskGenerator
    from tracker.pictures.predictor import ImagePredictor
    from tracker.pictures.prompts import PicturePrompt
    from tracker.pictures.segment import Segment
    from tracker.sessions.session import Session
    from tracker.step.pending_step import PendingStep
    from tracker.tracker import Tracker

__all__ = [
    "PRESETS",
    "CapacityError",
    "CheckpointError",
    "ConvolutionStage",
    "EfficientNetLiteConfig",
    "EmbeddingError",
    "EmbeddingFile",
    "Embeddings",
    "EngineOptions",
    "GeneratorOptions",
    "HieraConfig",
    "ImagePredictor",
    "MaskGenerator",
    "ModelConfig",
    "ModelIdentity",
    "ObjectMemory",
    "ObjectMemoryError",
    "PendingStep",
    "PerceiverConfig",
    "PictureMasks",
    "PictureOptions",
    "PicturePrompt",
    "PreparedImage",
    "Prompt",
    "PromptError",
    "RepVitConfig",
    "RobustOptions",
    "Segment",
    "Session",
    "SessionError",
    "StepFacts",
    "Track",
    "TrackState",
    "Tracker",
    "TrackerError",
    "TrackerOptions",
    "VitConfig",
    "YuvPicture",
]

_NEED_TORCH = {
    "EmbeddingFile": "tracker.pictures.embedding_file",
    "Embeddings": "tracker.pictures.embeddings",
    "ImagePredictor": "tracker.pictures.predictor",
    "MaskGenerator": "tracker.pictures.mask_generator",
    "PictureMasks": "tracker.pictures.delivery",
    "PicturePrompt": "tracker.pictures.prompts",
    "Segment": "tracker.pictures.segment",
    "PendingStep": "tracker.step.pending_step",
    "PreparedImage": "tracker.images.prepared_image",
    "Session": "tracker.sessions.session",
    "Tracker": "tracker.tracker",
    "YuvPicture": "tracker.images.yuv",
}


def __getattr__(name: str) -> object:
    if name in _NEED_TORCH:
        return getattr(import_module(_NEED_TORCH[name]), name)
    raise AttributeError(f"module 'tracker' has no attribute {name!r}")
