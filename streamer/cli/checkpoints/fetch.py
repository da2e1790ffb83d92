"""Fetches one of Meta's official files: from the Hugging Face hub, else from Meta's own address."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from streamer.cli.checkpoints.download import DownloadError, ProgressReport, download
from tracker.errors import CheckpointError
from tracker.weights.hub import ANSWER_TIMEOUT_S, download_official, is_offline
from tracker.weights.official import OfficialCheckpoint, checkpoint_directory


def fetch_official(
    checkpoint: OfficialCheckpoint,
    report: ProgressReport,
    *,
    note: Callable[[str], None] | None = None,
    answer_timeout_s: float = ANSWER_TIMEOUT_S,
) -> Path:
    """The complete file, in the hub's cache or in ``checkpoint_directory()``.

    ``note`` is called with why the hub was passed over. Raises ``DownloadError`` if both sources
    fail, or ``CheckpointError`` if ``HF_HUB_OFFLINE`` forbids to ask any.
    """
    try:
        return download_official(checkpoint, report, answer_timeout_s)
    except CheckpointError as error:
        if is_offline():
            raise
        passed_over = str(error)
    if note is not None:
        note(f"not from the hub: {passed_over}")
    target = checkpoint_directory() / checkpoint.file_name
    try:
        return download(
            checkpoint.url,
            target,
            checkpoint.size_bytes,
            checkpoint.sha256,
            report,
            timeout_s=3 * answer_timeout_s,
            exact=bool(checkpoint.sha256),
            accepts=lambda path: checkpoint.digest_of(path) == checkpoint.digest,
        )
    except DownloadError as error:
        raise DownloadError(f"{passed_over}; and {error}") from None
