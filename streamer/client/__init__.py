"""Python clients of the daemon: its results, its HTTP API, and a detector's way in.

A name is imported when it is first used, so that a program loads only the client it needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamer.client.api_client import Access, ApiClient, ApiError, ServerEvent
    from streamer.client.detection_sender import DetectionSender
    from streamer.client.subscriber import Gap, Subscriber, to_supervision
    from streamer.types import Detection

__all__ = [
    "Access", "ApiClient", "ApiError", "Detection", "DetectionSender", "Gap", "ServerEvent",
    "Subscriber", "to_supervision",
]  # fmt: skip

_MODULES = {
    "api_client": ("Access", "ApiClient", "ApiError", "ServerEvent"),
    "detection_sender": ("Detection", "DetectionSender"),
    "subscriber": ("Gap", "Subscriber", "to_supervision"),
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
