"""Builds the state keeper that a configuration describes."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from streamer.config.schema import MaskletConfig
from streamer.config.state_address import StateAddress, is_address
from streamer.config.state_folder import state_folder
from streamer.config.streams import StreamConfig
from streamer.errors import ConfigError
from streamer.runtime.metrics import Metrics
from streamer.streams.object_ids import ObjectIds
from streamer.streams.state.keeper import StateKeeper
from streamer.streams.state.leased_keeper import LeasedKeeper
from streamer.streams.state.shared_store import SharedStore
from streamer.streams.state.store import StateStore
from streamer.types import ObjectSnapshot

# So that a stream is written at most once in it: each write is three requests of the store.
SHARED_SETTLE_S = 1.0
_log = logging.getLogger(__name__)


def configured_state(
    config: MaskletConfig,
    *,
    streams: Callable[[], Mapping[str, StreamConfig]],
    object_ids: Callable[[str], ObjectIds],
    owner_set: Callable[[str], Collection[str]],
    export: Callable[[str], Awaitable[list[ObjectSnapshot]]],
    metrics: Metrics,
    end: Callable[[str], Awaitable[None]] | None = None,
) -> StateKeeper | None:
    """None if the configuration saves no state, or none can be saved, which is logged.

    ``end``: for a daemon whose streams are leased, see ``LeasedKeeper``. Raises ``ConfigError`` if
    that has no address.
    """
    others: dict[str, Any] = {
        "object_ids": object_ids, "owner_set": owner_set, "export": export, "metrics": metrics
    }  # fmt: skip
    if not is_address(config.state_directory):
        if end is not None:
            raise ConfigError(
                "state_directory must be an address for a daemon with leased streams, such as "
                f"file:///FOLDER or s3://BUCKET/PREFIX, got {config.state_directory!r}"
            )
        folder = _folder(config)
        return (
            None if folder is None else StateKeeper(StateStore(folder), streams=streams, **others)
        )
    shared = SharedStore(StateAddress.parse(config.state_directory))
    if end is not None:
        return LeasedKeeper(shared, streams=streams, end=end, settle_s=SHARED_SETTLE_S, **others)
    return StateKeeper(shared, streams=streams, settle_s=SHARED_SETTLE_S, **others)


def _folder(config: MaskletConfig) -> Path | None:
    try:
        return state_folder(config.state_directory, config.control.endpoint)
    except ConfigError as error:
        _log.warning("no state is saved for the next start: %s", error)
        return None
