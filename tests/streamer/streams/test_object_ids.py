"""Ids of objects: handed out in order, never twice, with a bound on what is remembered."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamer.streams.object_ids import OUT_OF_ORDER_IDS, ObjectIds


def test_asking_does_not_use_an_id() -> None:
    ids = ObjectIds()
    assert [ids.next_unused(), ids.next_unused()] == [1, 1]
    ids.use(1)
    assert ids.next_unused() == 2


def test_chosen_ids_are_skipped() -> None:
    ids = ObjectIds()
    for object_id in (3, 2, 0, 7, 3):
        ids.use(object_id)
    assert ids.next_unused() == 1
    ids.use(1)
    assert ids.next_unused() == 4


@given(st.lists(st.integers(0, 60)))
def test_next_is_the_smallest_that_was_never_used(used: list[int]) -> None:
    ids = ObjectIds()
    for object_id in used:
        ids.use(object_id)
    assert ids.next_unused() == min(set(range(1, 100)) - set(used))


def test_what_is_remembered_is_bounded_and_no_id_comes_twice() -> None:
    ids = ObjectIds()
    used = {10 * number for number in range(1, 2 * OUT_OF_ORDER_IDS)}
    for object_id in used:
        ids.use(object_id)
        assert ids.next_unused() not in used
        assert len(ids._beyond) <= OUT_OF_ORDER_IDS
