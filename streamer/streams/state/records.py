"""The saved state of a daemon as records, and their merge with a configuration.

The configuration file is the base. A record holds only changes made while the daemon ran: a stream
was added or removed, settings were changed, objects were labelled or removed. A later edit of the
file therefore applies to everything that was not changed at run time.

Knows no file and no tracker.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from streamer.config.schema import MaskletConfig
from streamer.config.section import LABEL_PATTERN
from streamer.config.stream_changes import merged, settings_of, settings_that_differ
from streamer.config.streams import ObjectConfig, StreamConfig
from streamer.config.url_rules import ConnectionRules
from streamer.errors import ConfigError
from streamer.streams.object_ids import OUT_OF_ORDER_IDS, ObjectIds
from streamer.streams.state.saved_connection import (
    RULED,
    Ruled,
    check_saved,
    connection_fingerprint,
    has_connection,
    without_connection,
)

MAXIMUM_UNUSED = 64
Label = Annotated[str, Meta(pattern=rf"\A{LABEL_PATTERN}\Z")]
Colour = Annotated[str, Meta(pattern=r"\A#[0-9a-fA-F]{6}\Z")]
ObjectId = Annotated[int, Meta(ge=0, lt=2**31)]


class ObjectRecord(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A tracked object. ``configured`` is the fingerprint of its entry in the configuration."""

    object_id: ObjectId
    label: Label | None = None
    colour: Colour | None = None
    configured: str | None = None


class MemoryFile(Struct, frozen=True, forbid_unknown_fields=True):
    """The file of a stream's object memories; ``sha256`` detects damage."""

    name: Annotated[str, Meta(pattern=r"\Amemory-[A-Za-z0-9_-]+\.safetensors\Z")]
    sha256: str


class StreamRecord(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """The run-time changes of one stream.

    ``settings`` are all those of an ``added`` stream, and the changed ones of a ``configured``
    stream, whose connection in the file has the fingerprint ``base``. ``owner_set`` names what the
    daemon's user set, beyond the API's rules. ``removed_objects`` are removed configured objects,
    with the fingerprints of their entries. Used ids: all below ``next_object_id``, and
    ``later_ids`` (see ``object_ids``).
    """

    origin: Literal["added", "configured", "removed"]
    settings: dict[str, Any] = {}
    objects: list[ObjectRecord] = []
    removed_objects: dict[ObjectId, str] = {}
    next_object_id: Annotated[int, Meta(ge=1, le=2**31)] = 1
    later_ids: Annotated[list[ObjectId], Meta(max_length=OUT_OF_ORDER_IDS)] = []
    memory: MemoryFile | None = None
    base: str | None = None
    owner_set: list[Ruled] = []

    @property
    def has_changes(self) -> bool:
        """Whether the next start would differ without this record."""
        return self.origin != "configured" or bool(
            self.settings
            or self.objects
            or self.removed_objects
            or self.later_ids
            or self.next_object_id > 1
        )


@dataclass(frozen=True, slots=True)
class MergedState:
    """The streams to start with, and the records behind them.

    ``records`` were applied; ``unused`` ones match no stream, and are kept for a start that has
    their stream again. ``restored`` and ``warnings`` are for the log.
    """

    streams: dict[str, StreamConfig]
    records: dict[str, StreamRecord] = field(default_factory=dict)
    unused: dict[str, StreamRecord] = field(default_factory=dict)
    restored: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def merge(config: MaskletConfig, records: Mapping[str, StreamRecord]) -> MergedState:
    """The streams of ``config`` with the changes of ``records`` applied.

    A record that is not valid any more (the file was edited) is skipped with a warning, and so is
    a connection that belongs to another entry in the file or that the API's rules do not allow.
    """
    result = MergedState(streams=dict(config.streams))
    rules = ConnectionRules(config.api.url_schemes, config.api.url_hosts)
    for stream_id, record in records.items():
        base = config.streams.get(stream_id)
        if record.origin == "removed":
            if base is not None:
                del result.streams[stream_id]
                result.restored.append(f"{stream_id} stays removed")
                result.records[stream_id] = record
            continue
        if record.origin == "configured" and base is None:
            result.unused[stream_id] = record
            continue
        key = f"streams.{stream_id}"
        settings = record.settings
        try:
            stream = _merged(key, base, settings)
            if has_connection(settings):
                try:
                    check_saved(rules, base, stream, record.base, record.owner_set)
                except ConfigError as error:
                    if base is None:
                        raise
                    settings = without_connection(settings)
                    stream = _merged(key, base, settings)
                    result.warnings.append(
                        f"the saved connection of stream {stream_id} is not used: {error}"
                    )
            config.changed(streams={**result.streams, stream_id: stream})
        except ConfigError as error:
            result.unused[stream_id] = record
            result.warnings.append(f"the saved state of stream {stream_id} is not used: {error}")
            continue
        result.streams[stream_id] = stream
        result.records[stream_id] = record
        if record.origin == "added":
            result.restored.append(f"{stream_id} (added)")
        elif settings:
            result.restored.append(f"{stream_id} (changed: {', '.join(sorted(settings))})")
    while len(result.unused) > MAXIMUM_UNUSED:
        del result.unused[next(iter(result.unused))]
    return result


def _merged(key: str, base: StreamConfig | None, settings: Mapping[str, Any]) -> StreamConfig:
    return StreamConfig.read(settings, key) if base is None else merged(key, base, settings)


def objects_to_restore(config: StreamConfig, record: StreamRecord) -> list[ObjectRecord]:
    """The saved objects, less those whose entry in the file was edited since."""
    entries = _entries(config)
    return [
        each
        for each in record.objects
        if each.object_id not in entries or each.configured == entries[each.object_id]
    ]


def objects_to_prompt(
    config: StreamConfig, record: StreamRecord | None, restored: Collection[int]
) -> list[ObjectConfig]:
    """The configured objects, less those restored and those that were removed while running."""
    removed = {} if record is None else record.removed_objects
    return [
        each
        for each in config.objects
        if each.id not in restored and removed.get(each.id) != fingerprint(each)
    ]


def record_of(
    base: StreamConfig | None,
    config: StreamConfig,
    objects: Sequence[ObjectRecord],
    removed_objects: Collection[int],
    ids: ObjectIds,
    owner_set: Collection[str] = (),
) -> StreamRecord:
    """The changes of a stream that runs with ``config``; ``base``: as in the file."""
    entries = _entries(config)
    return StreamRecord(
        origin="added" if base is None else "configured",
        settings=settings_of(config) if base is None else settings_that_differ(config, base),
        base=None if base is None else connection_fingerprint(base),
        owner_set=[name for name in RULED if name in owner_set],
        objects=[
            ObjectRecord(each.object_id, each.label, each.colour, entries.get(each.object_id))
            for each in objects
        ],
        removed_objects={
            object_id: entries[object_id]
            for object_id in sorted(removed_objects)
            if object_id in entries
        },
        next_object_id=ids.next_unused(),
        later_ids=list(ids.beyond),
    )


def ids_of(record: StreamRecord | None) -> ObjectIds:
    """The used object ids of a stream."""
    return ObjectIds() if record is None else ObjectIds(record.next_object_id, record.later_ids)


def fingerprint(target: ObjectConfig) -> str:
    """A hash of an object's entry in the file."""
    text = json.dumps(target.model_dump(), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _entries(config: StreamConfig) -> dict[int, str]:
    return {each.id: fingerprint(each) for each in config.objects}
