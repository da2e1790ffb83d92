"""Several devices have a name each, warm up at once, and report as one."""

from __future__ import annotations

from streamer.inference.device import names_of, shared_progress


def test_progress_of_several_devices_is_their_sum_and_ends_once() -> None:
    reported: list[tuple[int, int]] = []
    first, second = shared_progress(lambda done, steps: reported.append((done, steps)), 2)
    first(1, 3)
    assert reported == []  # the total is not known yet
    second(1, 2)
    second(2, 2)
    first(2, 3)
    first(3, 3)
    assert reported == [(2, 5), (3, 5), (4, 5), (5, 5)]


def test_trackers_of_one_device_have_names_of_their_own() -> None:
    assert names_of(["cpu", "cuda:0", "cpu", "cpu"]) == ["cpu", "cuda:0", "cpu (2)", "cpu (3)"]
