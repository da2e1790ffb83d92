"""Weights from the Hugging Face hub, through ``huggingface_hub``.

That library has the cache (``HF_HOME``, ``HF_HUB_CACHE``), resumes a connection that was cut, and
obeys ``HF_ENDPOINT`` (a mirror), ``HF_TOKEN`` and ``HF_HUB_OFFLINE``. It is imported when a name of
the hub is asked for and not before: without it everything but these names works.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tracker.errors import CheckpointError
from tracker.weights.official import OFFICIAL_CHECKPOINTS, OfficialCheckpoint

WEIGHTS_FILE, CONFIG_FILE = "model.safetensors", "config.json"
# What a model of `transformers` needs: weights, configuration, processor and tokenizer; not the
# same weights in other formats.
_PATTERNS = ("*.json", "*.txt", "*.model", WEIGHTS_FILE, "model-*-of-*.safetensors")
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w./-]+)?")
ANSWER_TIMEOUT_S = 10.0

Report = Callable[[int, int], None]  # bytes so far, bytes in all


def is_hub_name(name: str) -> bool:
    """Whether this can be a model on the hub: ``OWNER/MODEL`` or ``OWNER/MODEL@REVISION``."""
    return _NAME.fullmatch(name) is not None


def is_offline() -> bool:
    """Whether ``HF_HUB_OFFLINE`` forbids to ask the hub."""
    try:
        from huggingface_hub.constants import is_offline_mode
    except ImportError:
        return False
    return is_offline_mode()


def official_name(name: str) -> str | None:
    """The preset whose weights the official repository of this name holds.

    Raises CheckpointError for a repository of several.
    """
    own = [
        checkpoint.name
        for checkpoint in OFFICIAL_CHECKPOINTS.values()
        if checkpoint.hub_name.lower() == name.lower()
    ]
    if len(own) > 1:
        raise CheckpointError(f"{name} holds several models; name one of them: {', '.join(own)}")
    return own[0] if own else None


def cached_file(name: str, file_name: str) -> Path | None:
    """A file of a hub name that is on this machine. Sends nothing."""
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return None
    repository, revision = _parts(name)
    found = try_to_load_from_cache(repository, file_name, revision=revision)
    return Path(found) if isinstance(found, str) and Path(found).is_file() else None


def cached_official(checkpoint: OfficialCheckpoint) -> Path | None:
    """An official model in the hub's cache, in Meta's format or that of `transformers`."""
    for file_name in (checkpoint.file_name, WEIGHTS_FILE):
        if found := cached_file(checkpoint.hub_name, file_name):
            return found
    return None


def cached_model(name: str) -> Path | None:
    """The folder of a hub name that is complete on this machine. Sends nothing."""
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError
    except ImportError:
        return None
    repository, revision = _parts(name)
    try:
        folder = snapshot_download(
            repository, revision=revision, local_files_only=True, allow_patterns=list(_PATTERNS)
        )
    except LocalEntryNotFoundError:
        return None
    return Path(folder)


def download_official(
    checkpoint: OfficialCheckpoint,
    report: Report | None = None,
    answer_timeout_s: float = ANSWER_TIMEOUT_S,
) -> Path:
    """The official file from its repository on the hub, with the published digest.

    Raises CheckpointError if the hub, the disk or the content fails.
    """
    name, file_name = checkpoint.hub_name, checkpoint.file_name
    with _explained(name):
        from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

        # One request first: the download itself retries for minutes where nothing answers.
        endpoint = os.environ.get("HF_ENDPOINT") or None
        get_hf_file_metadata(
            hf_hub_url(name, file_name, endpoint=endpoint), timeout=answer_timeout_s
        )
        path = Path(
            hf_hub_download(name, file_name, endpoint=endpoint, tqdm_class=_bar_class(report))
        )
        digest = checkpoint.digest_of(path)
    if digest != checkpoint.digest:
        path.resolve().unlink()  # the content, which the cache would offer again
        path.unlink(missing_ok=True)
        raise CheckpointError(
            f"{_host()}: {name} is not the published file (digest {digest}, expected "
            f"{checkpoint.digest}); it was deleted. Unset HF_ENDPOINT if that is a mirror"
        )
    return path


def download_model(
    name: str, report: Report | None = None, answer_timeout_s: float = ANSWER_TIMEOUT_S
) -> Path:
    """The folder of a model in the layout of `transformers`, complete, in the hub's cache.

    Raises CheckpointError if the hub has no such model, or the hub or the disk fails.
    """
    repository, revision = _parts(name)
    with _explained(name):
        from huggingface_hub import HfApi, snapshot_download

        endpoint = os.environ.get("HF_ENDPOINT") or None
        HfApi(endpoint=endpoint).model_info(repository, revision=revision, timeout=answer_timeout_s)
        return Path(
            snapshot_download(
                repository,
                revision=revision,
                endpoint=endpoint,
                allow_patterns=list(_PATTERNS),
                tqdm_class=_bar_class(report),
            )
        )


def _parts(name: str) -> tuple[str, str | None]:
    repository, _, revision = name.partition("@")
    return repository, revision or None


def _host() -> str:
    """Whom we ask. A mirror's address may hold a password, so only its host is named."""
    return urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co").hostname or "?"


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turn what ``huggingface_hub`` raises into one line with the next step, without a token."""
    try:
        yield
    except ImportError as error:
        raise CheckpointError(
            f"{name} is a name of the Hugging Face hub, which needs: pip install huggingface_hub"
        ) from error
    except Exception as error:  # those of its HTTP client have no name of their own
        answer = getattr(error, "response", None)
        raise CheckpointError(_reason(name, error, getattr(answer, "status_code", None))) from None


def _reason(name: str, error: Exception, status: int | None) -> str:
    host = _host()
    if status in (401, 403):
        return (
            f"{host} refuses {name} ({status}): there is no such model, or it is private or asks "
            "for consent. Check the name; log in with: hf auth login (or set HF_TOKEN)"
        )
    if status == 404:
        return f"{host} has no {name}, or not the file of it that is needed (404); check the name"
    if status is not None:
        return f"{host} answered {status} to a request for {name}; try again later"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{name}: the disk is full; make room, or set HF_HOME to a folder on another disk"
    if isinstance(error, OSError) and error.errno is not None and error.filename:
        return f"{name}: {error.filename} cannot be written ({error.strerror})"
    if type(error).__name__ == "OfflineModeIsEnabled":
        return f"{name} is not on this machine, and HF_HUB_OFFLINE forbids to fetch it"
    return (
        f"{name}: {host} is not reachable ({type(error).__name__}). Is this machine online? "
        "HF_ENDPOINT names a mirror"
    )


def _bar_class(report: Report | None) -> Any:
    """A progress bar of ``huggingface_hub`` that reports bytes; its own without ``report``."""
    if report is None:
        return None
    tell = report
    from huggingface_hub.utils.tqdm import tqdm

    class Reporting(tqdm):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options | {"disable": True})  # type: ignore[no-untyped-call]
            self._whole = options.get("total") or 0
            self._done = options.get("initial") or 0

        def update(self, n: float | None = 1) -> None:
            self._done += n or 0
            if self._whole:
                tell(int(self._done), int(self._whole))

    return Reporting
