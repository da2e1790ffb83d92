"""Run-time changes as records, merged with the next start's configuration."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.config.network import ApiConfig
from streamer.config.schema import MaskletConfig
from streamer.config.streams import ObjectConfig, StreamConfig
from streamer.streams.object_ids import ObjectIds
from streamer.streams.state.records import (
    MAXIMUM_UNUSED,
    ObjectRecord,
    StreamRecord,
    fingerprint,
    ids_of,
    merge,
    objects_to_prompt,
    objects_to_restore,
    record_of,
)
from streamer.streams.state.saved_connection import RULED

DOOR = ObjectConfig(id=1, label="door", box=[0, 0, 9, 9])
BALL = ObjectConfig(id=2, label="ball", points=[[3, 4]])
GATE = StreamConfig(url="rtsp://camera/1", objects=[DOOR, BALL])


def merged(config: dict[str, StreamConfig], **records: StreamRecord) -> dict[str, StreamConfig]:
    return merge(MaskletConfig(streams=config), records).streams


def test_nothing_kept_changes_nothing() -> None:
    found = merge(MaskletConfig(streams={"gate": GATE}), {})
    assert found.streams == {"gate": GATE}
    assert found.restored == found.warnings == []


def test_added_stream_comes_back_as_it_was() -> None:
    yard = StreamConfig(url="rtsp://camera/2", max_rate_hz=5.0, paused=True, objects=[DOOR])
    record = record_of(None, yard, [], [], ObjectIds(), RULED)
    assert record.origin == "added"
    assert merged({"gate": GATE}, yard=record) == {"gate": GATE, "yard": yard}


def test_removed_stream_stays_away_until_the_file_loses_it_too() -> None:
    found = merge(MaskletConfig(streams={"gate": GATE}), {"gate": StreamRecord("removed")})
    assert found.streams == {}
    assert found.restored == ["gate stays removed"]
    assert merge(MaskletConfig(), {"gate": StreamRecord("removed")}).unused == {}


def test_changed_settings_win_over_the_file_and_only_they() -> None:
    changed = GATE.changed(max_rate_hz=5.0, ground_plane=[])
    record = record_of(GATE, changed, [], [], ObjectIds())
    assert record.settings == {"max_rate_hz": 5.0}
    edited = StreamConfig(url="rtsp://camera/9", max_rate_hz=25.0)
    found = merge(MaskletConfig(streams={"gate": edited}), {"gate": record})
    assert found.streams["gate"] == StreamConfig(url="rtsp://camera/9", max_rate_hz=5.0)
    assert found.restored == ["gate (changed: max_rate_hz)"]


def test_added_stream_that_the_file_now_has_is_merged_over_it_less_its_connection() -> None:
    added = StreamConfig(url="rtsp://camera/2", max_rate_hz=5.0)
    record = record_of(None, added, [], [], ObjectIds(), RULED)
    edited = StreamConfig(url="rtsp://camera/9", max_objects=3)
    assert merged({"yard": edited}, yard=record)["yard"] == StreamConfig(
        url="rtsp://camera/9", max_rate_hz=5.0, max_objects=3
    )


@pytest.mark.parametrize(
    "edited",
    [
        {"url": "rtsp://camera/1", "username_env": "USER", "password_env": "PASSWORD"},
        {"url": "rtsp://camera/1", "password_file": "/password"},
        {"url": "rtsp://ann:secret@camera/1"},
        {"url": "rtsp://other/1"},
        {"url": "rtsps://camera/1"},
        {"url": "rtsp://camera/1", "options": {"headers": "X-Key: secret"}},
    ],
)
def test_saved_address_is_not_used_with_another_place_option_or_credential(
    edited: dict[str, object],
) -> None:
    base = StreamConfig(url="rtsp://camera/1")
    changed = base.changed(url="rtsp://elsewhere/1", options={"probesize": "32"}, max_rate_hz=5.0)
    record = record_of(base, changed, [], [], ObjectIds(), RULED)
    assert merged({"gate": base}, gate=record)["gate"] == changed
    in_file = StreamConfig(**edited)  # type: ignore[arg-type]
    found = merge(MaskletConfig(streams={"gate": in_file}), {"gate": record})
    assert found.streams["gate"] == in_file.changed(max_rate_hz=5.0)
    assert "the saved connection of stream gate is not used" in found.warnings[0]
    assert "secret" not in found.warnings[0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"url": "rtsp://camera/2"}, "the host 'camera' is not among api.url_hosts"),
        ({"url": "/etc/passwd"}, "files and devices cannot be added over the API"),
        ({"url": "synthetic://match", "options": {"listen": "1"}}, "'listen' cannot be set"),
        ({"url": "synthetic://match", "options": {"probesize": "1"}}, "between 32 and"),
    ],
)
def test_what_the_api_set_obeys_the_rules_of_today(
    settings: dict[str, object], message: str
) -> None:
    stream = StreamConfig(**settings)  # type: ignore[arg-type]
    record = record_of(None, stream, [], [], ObjectIds())
    found = merge(MaskletConfig(), {"yard": record})
    assert found.unused == {"yard": record}
    assert message in found.warnings[0]
    owned = record_of(None, stream, [], [], ObjectIds(), RULED)
    assert merge(MaskletConfig(), {"yard": owned}).streams == {"yard": stream}
    allowed = MaskletConfig(api=ApiConfig(url_hosts=["camera"]))
    assert ("yard" in merge(allowed, {"yard": record}).streams) is ("camera" in message)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (StreamRecord("added", {"url": "gopher://u:hunter2@x"}), "streams.gate.url must be"),
        (StreamRecord("added", {"url": "rtsp://x", "colour": 1}), "colour is not a setting"),
        (StreamRecord("added", {}), "streams.gate.url is missing"),
        (StreamRecord("added", {"url": "rtsp://x", "max_objects": 900}), "between 1 and 64"),
    ],
)
def test_record_that_cannot_be_is_left_aside_with_a_warning(
    record: StreamRecord, message: str
) -> None:
    found = merge(MaskletConfig(), {"gate": record})
    assert found.streams == {}
    assert found.unused == {"gate": record}
    assert "the saved state of stream gate is not used" in found.warnings[0]
    assert message in found.warnings[0]
    assert "hunter2" not in found.warnings[0]


def test_records_of_streams_that_are_not_configured_now_wait_for_them() -> None:
    record = StreamRecord("configured", objects=[ObjectRecord(1)])
    found = merge(MaskletConfig(), {"gate": record})
    assert found.streams == {}
    assert found.unused == {"gate": record}
    many = {f"s{number}": record for number in range(MAXIMUM_UNUSED + 3)}
    kept = merge(MaskletConfig(), many).unused
    assert list(kept) == [f"s{number}" for number in range(3, MAXIMUM_UNUSED + 3)]


def test_objects_continue_unless_their_entry_in_the_file_was_edited() -> None:
    objects = [ObjectRecord(1, "Tor", "#ff8800"), ObjectRecord(2, "ball"), ObjectRecord(7)]
    record = record_of(GATE, GATE, objects, [], ObjectIds())
    assert [each.object_id for each in objects_to_restore(GATE, record)] == [1, 2, 7]
    assert objects_to_restore(GATE, record)[0].label == "Tor"
    moved = GATE.changed(objects=[DOOR, BALL.changed(points=[[5, 5]])])
    assert [each.object_id for each in objects_to_restore(moved, record)] == [1, 7]
    assert [each.id for each in objects_to_prompt(moved, record, [1, 7])] == [2]


def test_removed_object_is_not_prompted_again_unless_its_entry_was_edited() -> None:
    record = record_of(GATE, GATE, [], [1, 99], ObjectIds())
    assert record.removed_objects == {1: fingerprint(DOOR)}
    assert [each.id for each in objects_to_prompt(GATE, record, [])] == [2]
    edited = GATE.changed(objects=[DOOR.changed(label="gate"), BALL])
    assert [each.id for each in objects_to_prompt(edited, record, [])] == [1, 2]
    assert objects_to_prompt(GATE, None, []) == [DOOR, BALL]


def test_unchanged_stream_needs_no_record() -> None:
    assert not record_of(GATE, GATE, [], [], ObjectIds()).has_changes
    assert record_of(GATE, GATE, [], [1], ObjectIds()).has_changes
    assert record_of(None, GATE, [], [], ObjectIds()).has_changes


rates = st.one_of(st.none(), st.floats(0.01, 1000))
streams = st.builds(
    StreamConfig,
    url=st.sampled_from(["rtsp://a/1", "rtsp://u:pä@b/2?x=$1", "whip://", "synthetic://match"]),
    transport=st.sampled_from(["tcp", "udp"]),
    max_rate_hz=rates,
    paused=st.booleans(),
    max_objects=st.integers(3, 64),
    options=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2),
    objects=st.just([DOOR, BALL]),
)


@given(streams, st.none() | streams)
def test_every_record_makes_the_same_stream_again_after_json(
    config: StreamConfig, base: StreamConfig | None
) -> None:
    ids = ObjectIds(4, [9, 12])
    record = record_of(base, config, [ObjectRecord(3, "é", "#00ff00")], [1], ids, RULED)
    read = msgspec.json.decode(msgspec.json.encode(record), type=StreamRecord)
    assert read == record
    assert (ids_of(read).next_unused(), ids_of(read).beyond) == (4, (9, 12))
    configured = {} if base is None else {"gate": base}
    assert merged(configured, gate=read) == {"gate": config}
