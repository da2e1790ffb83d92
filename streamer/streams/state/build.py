"""The keeper of the state that the configuration asks for."""

from __future__ import annotations

import logging
from collections.abc import Callable

from streamer.config.schema import MaskletConfig
from streamer.config.state_folder import state_folder
from streamer.errors import ConfigError
from streamer.runtime.metrics import Metrics
from streamer.streams.objects import Objects
from streamer.streams.state.keeper import StateKeeper
from streamer.streams.streams import Streams

_log = logging.getLogger(__name__)


def configured_state(
    config: MaskletConfig,
    *,
    streams: Callable[[], Streams],
    objects: Callable[[], Objects],
    metrics: Metrics,
) -> StateKeeper | None:
    """None where nothing is to be kept, or can be, which the log tells."""
    try:
        folder = state_folder(config.state_directory, config.control.endpoint)
    except ConfigError as error:
        _log.warning("nothing is kept for the next start: %s", error)
        return None
    if folder is None:
        return None
    return StateKeeper(
        folder,
        streams=lambda: streams().configs(),
        object_ids=lambda stream_id: streams().object_ids(stream_id),
        export=lambda stream_id: objects().snapshots(stream_id),
        metrics=metrics,
    )
