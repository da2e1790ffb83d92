"""``model=auto`` at the start of the daemon: chosen, fetched once if need be, and logged.

The start never fails and never waits long for a model that is missing: then the embedded one runs.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from streamer.cli.checkpoints.fetch import fetch_official
from streamer.cli.checkpoints.progress import download_progress
from streamer.config.schema import AUTO_MODEL, MaskletConfig
from streamer.config.state_folder import state_folder
from streamer.errors import ConfigError, MaskletError
from streamer.inference.model_choice import (
    BETTER_MODEL,
    EMBEDDED_MODEL,
    is_here,
    wants_better_model,
)
from streamer.streams.state.memory_file import remembering_models
from tracker.errors import TrackerError
from tracker.weights.official import OFFICIAL_CHECKPOINTS

# For the first bytes, names to be resolved and both sources included: the resolver alone may take
# half a minute where a network is configured and leads nowhere.
_BEGIN_S = 12.0
_ANSWER_TIMEOUT_S = 3.0
_log = logging.getLogger(__name__)


def with_automatic_model(config: MaskletConfig, *, fresh: bool = False) -> MaskletConfig:
    """``config`` with a model's name in place of ``auto``.

    Objects that an earlier run saved keep the embedded model if it remembers them: memories belong
    to one model, and the objects would be lost. ``fresh``: they are not restored anyway.
    """
    if config.model.name != AUTO_MODEL or config.model.checkpoint is not None:
        return config
    name = EMBEDDED_MODEL
    if not wants_better_model(config.model):
        _log.info(
            "model=auto is %s, the embedded model, for a processor. Better masks at a few frames a "
            "second: masklet checkpoints pull sam2.1_hiera_tiny, then model=sam2.1_hiera_tiny",
            name,
        )
    elif not fresh and (folder := _remembered_by(EMBEDDED_MODEL, config)) is not None:
        _log.info(
            "model=auto stays %s, which remembers the objects in %s. Better masks: model=%s, "
            "which does not know these objects, or --fresh",
            name,
            folder,
            BETTER_MODEL,
        )
    elif (problem := _problem_of_better_model()) is None:
        name = BETTER_MODEL
        _log.info("model=auto is %s, for CUDA", name)
    else:
        _log.warning(
            "model=auto is %s, the embedded model: %s is not here (%s). Better masks: masklet "
            "checkpoints pull %s",
            name,
            BETTER_MODEL,
            problem,
            BETTER_MODEL,
        )
    return config.changed(model=config.model.changed(name=name))


def _remembered_by(name: str, config: MaskletConfig) -> Path | None:
    """The state folder if all objects saved there are remembered by this model."""
    try:
        folder = state_folder(config.state_directory, config.control.endpoint)
    except ConfigError:
        return None
    return folder if folder is not None and remembering_models(folder) == {name} else None


def _problem_of_better_model() -> str | None:
    """Fetch it if it is not here; why it still is not, None if it is."""
    if is_here(BETTER_MODEL):
        return None
    checkpoint = OFFICIAL_CHECKPOINTS[BETTER_MODEL]
    _log.info("model=auto fetches %s, %.0f MB, once", checkpoint.name, checkpoint.size_bytes / 1e6)
    answered, ended = threading.Event(), threading.Event()
    given_up = False
    problems: list[str] = []

    def fetch() -> None:
        try:
            with download_progress(checkpoint.name) as show:

                def report(done: int, total: int) -> None:
                    if given_up:
                        raise MaskletError("given up")
                    answered.set()
                    show(done, total)

                fetch_official(checkpoint, report, answer_timeout_s=_ANSWER_TIMEOUT_S)
        except (MaskletError, TrackerError) as error:
            problems.append(str(error))
        finally:
            ended.set()
            answered.set()

    threading.Thread(target=fetch, name="fetch-model", daemon=True).start()
    if not answered.wait(_BEGIN_S):
        given_up = True
        return f"nothing answered within {_BEGIN_S:g} s"
    ended.wait()
    return problems[0] if problems else None
