"""Loads a detector of `transformers` by its name on the hub, or from a folder.

Weights are read from safetensors only, and no code of a repository is run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError

from streamer.errors import StarterError
from streamer.starters.words.captions import DEFAULT_MODEL
from tracker.errors import CheckpointError
from tracker.weights import hub

_EXTRA = "pip install 'masklet[text]'"
# What the library raises on files that are damaged or of another model.
_LIBRARY_ERRORS = (
    OSError, ValueError, LookupError, TypeError, RuntimeError, ImportError, AttributeError,
    SafetensorError,
)  # fmt: skip


class Family(NamedTuple):
    """Networks that are asked in the same way; names of `transformers` and of an adapter."""

    adapter: str
    model_class: str = "AutoModelForZeroShotObjectDetection"
    processor_class: str = "AutoProcessor"
    is_open: bool = True


_CLOSED = Family("closed_vocabulary", "AutoModelForObjectDetection", "AutoImageProcessor", False)
FAMILIES: dict[str, Family] = {
    "grounding-dino": Family("grounding_dino"),
    "mm-grounding-dino": Family("grounding_dino"),
    "owlv2": Family("owl"),
    "owlvit": Family("owl"),
    "omdet-turbo": Family("omdet_turbo"),
    "florence2": Family("florence2", "Florence2ForConditionalGeneration"),
    "d_fine": _CLOSED,
    "rt_detr": _CLOSED,
    "rt_detr_v2": _CLOSED,
}


class LoadedDetector:
    """A network with its adapter; streams with equal settings share one."""

    def __init__(self, name: str, family: Family, network: Any) -> None:
        from streamer.starters.words import adapters

        self.name = name
        self.is_open = family.is_open
        self.network = network
        self.find: adapters.Adapter = getattr(adapters, family.adapter)

    @property
    def classes(self) -> list[str]:
        """The names that a network of fixed classes knows."""
        return list(self.network.model.config.id2label.values())


def load_detector(name: str | None, *, fetch: bool) -> LoadedDetector:
    """The detector of a hub name or folder (None: ``DEFAULT_MODEL``).

    ``fetch`` downloads it if it is not here. Raises ``StarterError`` with what to do.
    """
    name = name or DEFAULT_MODEL
    try:
        import transformers

        from streamer.starters.words.adapters import Network
    except ImportError as error:
        raise StarterError(f"detectors that read words need transformers: {_EXTRA}") from error
    folder = _folder(name, fetch=fetch)
    family = family_of(name, folder)
    offline = {"local_files_only": True, "trust_remote_code": False}
    try:
        with _without_bars():
            model, loaded = getattr(transformers, family.model_class).from_pretrained(
                folder, **offline, use_safetensors=True, output_loading_info=True
            )
        processor = getattr(transformers, family.processor_class).from_pretrained(folder, **offline)
    except _LIBRARY_ERRORS as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise StarterError(f"{name} cannot be loaded: {lines[0][:300]}") from error
    if missing := sorted({*loaded["missing_keys"], *map(str, loaded["mismatched_keys"])}):
        raise StarterError(
            f"{name} cannot be loaded: {len(missing)} of its weights are missing or of another "
            f"shape ({missing[0]}); the library would use random ones"
        )
    return LoadedDetector(name, family, Network(model.eval(), processor))


def family_of(name: str, folder: Path) -> Family:
    """How the model in a folder is asked. Raises ``StarterError`` if it is no such detector."""
    path = folder / hub.CONFIG_FILE
    try:
        kind = json.loads(path.read_text(encoding="utf-8"))["model_type"]
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise StarterError(f"{name} is no model of transformers: {path} has no model_type") from (
            error
        )
    if kind not in FAMILIES:
        raise StarterError(
            f"{name} is of the kind {kind}, and these can be asked: {', '.join(FAMILIES)} (for "
            f"example {DEFAULT_MODEL})"
        )
    return FAMILIES[kind]


@contextmanager
def _without_bars() -> Iterator[None]:
    """The library draws a bar for each load, which takes a second; a log has no use for it."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _folder(name: str, *, fetch: bool) -> Path:
    if (folder := Path(name)).is_dir():
        return folder
    if not hub.is_hub_name(name):
        raise StarterError(
            f"no detector {name!r}: it is neither a folder nor a name of the Hugging Face hub, "
            f"such as {DEFAULT_MODEL}"
        )
    if (cached := hub.cached_model(name)) is not None:
        return cached
    if not fetch:
        raise StarterError(f"{name} is not on this machine: run `masklet checkpoints pull {name}`")
    try:
        return hub.download_model(name)
    except CheckpointError as error:
        raise StarterError(str(error)) from None
