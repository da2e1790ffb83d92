"""Builds the state keeper that a configuration describes."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Mapping

from streamer.config.schema import MaskletConfig
from streamer.config.state_folder import state_folder
from streamer.config.streams import StreamConfig
from streamer.errors import ConfigError
from streamer.runtime.metrics import Metrics
from streamer.streams.object_ids import ObjectIds
from streamer.streams.state.keeper import StateKeeper
from streamer.types import ObjectSnapshot

_log = logging.getLogger(__name__)


def configured_state(
    config: MaskletConfig,
    *,
    streams: Callable[[], Mapping[str, StreamConfig]],
    object_ids: Callable[[str], ObjectIds],
    owner_set: Callable[[str], Collection[str]],
    export: Callable[[str], Awaitable[list[ObjectSnapshot]]],
    metrics: Metrics,
) -> StateKeeper | None:
    """None if the configuration saves no state, or none can be saved, which is logged."""
    try:
        folder = state_folder(config.state_directory, config.control.endpoint)
    except ConfigError as error:
        _log.warning("no state is saved for the next start: %s", error)
        return None
    if folder is None:
        return None
    return StateKeeper(
        folder,
        streams=streams,
        object_ids=object_ids,
        owner_set=owner_set,
        export=export,
        metrics=metrics,
    )
