"""Placement: sticky, by priority, within every limit, and the same for the same input."""

from __future__ import annotations

import math
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.fleet.capacity import share_of
from streamer.fleet.placement import Demand, Placement, Room, place
from streamer.fleet.view import Capacity

KINDS = ("large", "small")
SHARES = st.floats(0.01, 1.5)
WORKERS = [f"w{index}" for index in range(5)]


@st.composite
def fleets(draw: st.DrawFn) -> tuple[list[Demand], list[Room]]:
    rooms = [
        Room(
            worker_id,
            draw(st.sampled_from(KINDS)),
            draw(st.floats(0.5, 1.0)),
            draw(st.integers(1, 6)),
            draw(st.integers(1, 40)),
            draw(st.booleans()),
            draw(st.booleans()),
        )
        for worker_id in draw(st.lists(st.sampled_from(WORKERS), unique=True))
    ]
    demands = [
        Demand(
            f"s{index}",
            draw(st.integers(0, 9)),
            draw(st.integers(0, 16)),
            {kind: draw(SHARES) for kind in KINDS},
            draw(st.one_of(st.none(), st.sampled_from([*WORKERS, "gone"]))),
            draw(st.one_of(st.none(), st.sampled_from(WORKERS))),
            draw(st.booleans()),
        )
        for index in range(draw(st.integers(0, 12)))
    ]
    return demands, rooms


def after(demands: list[Demand], placement: Placement) -> list[Demand]:
    """The demands as they stand once the placement is carried out."""
    return [
        replace(each, worker_id=placement.placed.get(each.stream_id))
        if each.stream_id in placement.placed or each.stream_id in placement.waiting
        else each
        for each in demands
    ]


def carries(room: Room, streams: list[Demand]) -> bool:
    """Whether a worker carries these together; one alone may take all of it."""
    limit = max(room.limit, 1.0) if len(streams) == 1 else room.limit
    return (
        sum(each.shares[room.kind] for each in streams) <= limit + 1e-6
        and len(streams) <= room.maximum_streams
        and sum(each.objects for each in streams) <= room.maximum_objects
    )


@settings(max_examples=150, deadline=None)
@given(fleets())
def test_every_stream_stays_is_placed_or_waits_for_a_reason(
    fleet: tuple[list[Demand], list[Room]],
) -> None:
    demands, rooms = fleet
    result = place(demands, rooms)
    there = {room.worker_id for room in rooms}
    for each in demands:
        is_placed = each.stream_id in result.placed
        assert not (is_placed and each.stream_id in result.waiting)
        if each.worker_id in there and each.stream_id not in result.made_room:
            assert not is_placed
            assert each.stream_id not in result.waiting
        else:
            assert is_placed or result.waiting[each.stream_id]
    assert place(demands, rooms) == result


@settings(max_examples=150, deadline=None)
@given(fleets())
def test_no_worker_gets_more_than_it_carries(fleet: tuple[list[Demand], list[Room]]) -> None:
    demands, rooms = fleet
    result = place(demands, rooms)
    for room in rooms:
        there = [each for each in after(demands, result) if each.worker_id == room.worker_id]
        came = [each for each in there if each.stream_id in result.placed]
        if not came:
            continue
        assert room.is_open
        assert all(each.avoid != room.worker_id for each in came)
        assert not any(each.can_stay and room.is_overloaded for each in came)
        assert carries(room, there)


@settings(max_examples=150, deadline=None)
@given(fleets())
def test_a_stream_waits_only_where_equal_or_higher_priorities_leave_it_no_room(
    fleet: tuple[list[Demand], list[Room]],
) -> None:
    """Overloaded workers are better than none, and others better than them."""
    demands, rooms = fleet
    result = place(demands, rooms)
    final = after(demands, result)
    overloaded = {room.worker_id for room in rooms if room.is_overloaded}
    for each in final:
        is_last_choice = result.placed.get(each.stream_id) in overloaded
        if each.stream_id not in result.waiting and not is_last_choice:
            continue
        for room in rooms:
            if not room.is_open or each.avoid == room.worker_id:
                continue
            if room.is_overloaded and (is_last_choice or each.can_stay):
                continue
            rest = [
                other
                for other in final
                if other.worker_id == room.worker_id and other.priority >= each.priority
            ]
            tight = replace(room, limit=room.limit - 2e-6)
            share = each.shares[room.kind]
            assert not carries(tight, [*rest, each]) or (not rest and share > 1.0)


@settings(max_examples=100, deadline=None)
@given(fleets())
def test_a_second_placement_changes_nothing(fleet: tuple[list[Demand], list[Room]]) -> None:
    demands, rooms = fleet
    first = place(demands, rooms)
    second = place(after(demands, first), rooms)
    assert not second.placed
    assert not second.made_room
    assert second.waiting.keys() == first.waiting.keys()


def test_ten_thousand_streams_are_placed_on_eight_hundred_workers() -> None:
    rooms = [Room(f"w{index:03}", KINDS[index % 2], 0.9, 64, 64) for index in range(800)]
    demands = [
        Demand(f"s{index:05}", index % 10, 2, {"large": 0.05, "small": 0.08})
        for index in range(10_000)
    ]
    result = place(demands, rooms)
    assert len(result.placed) == 10_000
    assert max(list(result.placed.values()).count(f"w{index:03}") for index in (0, 1)) < 18


def test_shares_follow_what_was_measured() -> None:
    capacity = Capacity("machine", 25.0, ((1, 8), (4, 4), (16, 1)))
    assert share_of(capacity, 0, None) == share_of(capacity, 1, None) == 1 / 8
    assert share_of(capacity, 4, None) == 1 / 4
    assert share_of(capacity, 10, None) == (1 / 4 + 1) / 2
    assert share_of(capacity, 4, 5.0) == 1 / 20
    assert share_of(capacity, 28, None) == 1 + 12 * (1 - 1 / 4) / 12
    none = Capacity("machine", 25.0, ((1, 2), (4, 0)))
    assert share_of(none, 1, None) == 0.5
    assert math.isinf(share_of(none, 2, None))
    assert math.isinf(share_of(none, 9, None))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(0, 64), min_size=1, max_size=5).map(lambda n: sorted(n, reverse=True)),
    st.integers(0, 80),
)
def test_more_objects_never_take_less(carried: list[int], objects: int) -> None:
    capacity = Capacity("machine", 25.0, tuple((4**index, n) for index, n in enumerate(carried)))
    assert share_of(capacity, objects, None) <= share_of(capacity, objects + 1, None)
