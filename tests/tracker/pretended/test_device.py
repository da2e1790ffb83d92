"""What a CUDA device would refuse or do late, the one that is not there refuses or does late."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.tracker.pretended.device import pretended_cuda
from tests.tracker.pretended.tensors import OnDevice, plain
from tracker.engine.calls import Call
from tracker.engine.graph_calls import GraphCalls
from tracker.host_arrays import HostBuffers, sent, sent_beside
from tracker.weights.checkpoint import resolve_device

CUDA = torch.device("cuda:1")


def on_cuda() -> Tensor:
    return torch.arange(4.0, device=CUDA)


@pytest.mark.parametrize(
    "call",
    [
        lambda: on_cuda() + torch.ones(4),
        lambda: torch.cat((on_cuda(), torch.ones(4))),
        lambda: torch.nn.functional.linear(on_cuda()[None], torch.ones(2, 4)),
        lambda: torch.where(on_cuda() > 1, on_cuda(), torch.ones(4)),
        lambda: on_cuda().numpy(),
        lambda: on_cuda().__setitem__(slice(2), torch.ones(2)),
    ],
    ids=["sum", "cat", "linear", "where", "numpy", "assignment"],
)
def test_host_and_device_do_not_mix(call: Callable[[], Any]) -> None:
    with pretended_cuda(1), pytest.raises(AssertionError):
        call()


@pytest.mark.parametrize(
    ("call", "wait"),
    [
        (lambda x: x.sum().item(), "item"),
        (lambda x: x.tolist(), "tolist"),
        (lambda x: bool(x[0] > 1), "__bool__"),
        (lambda x: x[x > 1], "__getitem__ by torch.bool"),
        (lambda x: x.nonzero(), "nonzero"),
        (lambda x: x.cpu(), "cpu"),
        (lambda x: torch.zeros(4).copy_(x), "copy_"),
    ],
)
def test_what_the_host_waits_for_is_noticed(call: Callable[[Tensor], Any], wait: str) -> None:
    with pretended_cuda(1) as device:
        call(on_cuda())
        assert device.waits == [wait]


def test_tensors_say_where_they_are_and_hold_what_a_processor_computes() -> None:
    with pretended_cuda(1):
        made = on_cuda() * torch.tensor(2.0) + 1  # a number of the host is no tensor of it
        layer = torch.nn.Linear(4, 2, bias=False).to(CUDA)
        assert isinstance(layer.weight, OnDevice)
        assert (made.device, made.is_cuda, made.is_cpu) == (CUDA, True, False)
        assert layer(made).device == CUDA
        assert made.cpu().tolist() == [1, 3, 5, 7]
        with pytest.raises(AssertionError):
            torch.zeros(1, device="cuda:0")
    with pytest.raises(AssertionError, match="outside"):
        made.sum()


def test_copies_are_noticed_and_those_that_the_host_makes_apart() -> None:
    with pretended_cuda(1) as device:
        torch.ones(3).to(CUDA, non_blocking=True)
        torch.tensor([1, 2], device=CUDA)
        on_cuda()[torch.tensor([0, 1])]
        torch.ones(3).pin_memory().to(CUDA)
        torch.ones(8)[::2].pin_memory().to(CUDA, non_blocking=True)
        assert [copy.at_once for copy in device.copies] == [False] * 5
        device.copies.clear()
        sent(torch.ones(3), CUDA)
        sent(torch.ones(8)[::2], CUDA)
        assert [(copy.at_once, copy.bytes) for copy in device.copies] == [(True, 12), (True, 16)]


def test_memory_that_is_written_to_before_its_copy_is_made_is_noticed() -> None:
    with pretended_cuda(1) as device:
        pinned = torch.ones(3).pin_memory()
        pinned.to(CUDA, non_blocking=True)
        pinned[0] = 5
        with pytest.raises(AssertionError, match="before its copy"):
            device.finish()


def test_reading_before_the_event_gives_nonsense() -> None:
    with pretended_cuda(1):
        buffers = HostBuffers()
        transfers = [buffers.begin([on_cuda() + value]) for value in range(2)]
        raw = transfers[0]._raw  # type: ignore[attr-defined]
        assert raw.view("float32").tolist() != [0, 1, 2, 3]
        assert transfers[0].arrays()[0].tolist() == [0, 1, 2, 3]
        assert transfers[1].arrays()[0].tolist() == [1, 2, 3, 4]


def doubled(row_R: Tensor, rows: Tensor) -> tuple[Tensor]:
    return ((rows[row_R] + 1 - 1) * 2,)


def call(function: Callable[..., Any], rows: Tensor, *row: int) -> Call:
    return Call("double", function, np.arange(len(row)), len(row), (np.array(row),), (rows,))


def test_a_graph_is_run_when_it_is_replayed_and_fills_its_table() -> None:
    with pretended_cuda(1) as device:
        calls = GraphCalls(CUDA, most_graphs=2, rows=4)
        rows = calls.table("rows", [on_cuda()])
        (first,) = calls("doubled", 2, [call(doubled, rows, 1, 2)])
        device.copies.clear()
        (second,) = calls("doubled", 2, [call(doubled, rows, 3, 1)])
        assert second.data_ptr() == first.data_ptr()
        calls.run()
        assert plain(second).tolist() == [6, 2]
        assert [copy.to_device for copy in device.copies] == [True]  # the numbers of both
        (kept,) = calls.kept([second], [2])
        calls("doubled", 1, [call(doubled, rows, 2)])
        calls.run()
        assert plain(kept[0]).tolist() == [6, 2]
        assert plain(second).tolist() == [4, 2]


@pytest.mark.parametrize(
    "function",
    [
        lambda _, rows: (rows * rows.sum().item(),),
        lambda _, rows: (rows[rows > 0],),
        lambda _, rows: (rows + torch.ones(5).to(CUDA),),
        lambda row, rows: (rows.add_(1)[row],),
    ],
    ids=["a look at a value", "a shape by values", "a copy", "a write to an input"],
)
def test_what_cannot_be_captured_is_refused(function: Callable[..., tuple[Tensor]]) -> None:
    with pretended_cuda(1):
        calls = GraphCalls(CUDA, most_graphs=2, rows=4)
        rows = calls.table("rows", [on_cuda()])
        with pytest.raises(AssertionError):
            calls("refused", 4, [call(function, rows, 0, 1, 2, 3)])


def test_a_call_that_reads_what_may_move_is_refused() -> None:
    with pretended_cuda(1), pytest.raises(AssertionError, match="not a table"):
        GraphCalls(CUDA, most_graphs=2, rows=4)("refused", 1, [call(doubled, on_cuda(), 1)])


def test_a_capture_on_the_current_device_is_none_of_another() -> None:
    """PyTorch's own stream for captures is of the device that was current first."""
    with pretended_cuda(1):
        pool, graph = torch.cuda.graph_pool_handle(), torch.cuda.CUDAGraph()
        with (
            pytest.raises(AssertionError, match="another device"),
            torch.cuda.graph(graph, pool, capture_error_mode="thread_local"),
        ):
            on_cuda()


def test_a_device_beyond_those_that_are_there_is_refused_by_name() -> None:
    with pretended_cuda(1):
        assert resolve_device("auto") == torch.device("cuda")
        assert resolve_device("cuda:1") == CUDA
        with pytest.raises(ValueError, match=r"cuda:2 was requested, but CUDA has 2 here"):
            resolve_device("cuda:2")


def test_images_and_results_travel_on_streams_of_their_own() -> None:
    with pretended_cuda(1) as device:
        image = sent_beside(torch.arange(4.0), CUDA)
        made = image * 2  # waits for the copy
        transfer = HostBuffers().begin([made])  # which waits for what is copied
        assert transfer.arrays()[0].tolist() == [0, 2, 4, 6]
        assert len(device.used_beside) == 2  # by others than those that made it
        assert device.waits == []


def test_what_another_stream_makes_is_not_read_before_it_was_waited_for() -> None:
    with pretended_cuda(1):
        with torch.cuda.stream(torch.cuda.Stream(CUDA)):
            there = sent(torch.arange(4.0), CUDA)
        with pytest.raises(AssertionError, match="read before it is made"):
            there * 2
