"""What a CUDA device would refuse or do late, the one that is not there refuses or does late."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.tracker.pretended.device import pretended_cuda
from tests.tracker.pretended.tensors import OnDevice, plain
from tracker.engine.calls import GraphCalls
from tracker.host_arrays import HostBuffers, sent
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


def doubled(rows: Tensor) -> tuple[Tensor]:
    return ((rows + 1 - 1) * 2,)


def test_a_graph_is_run_when_it_is_replayed_and_where_it_was_captured() -> None:
    with pretended_cuda(1):
        calls = GraphCalls(CUDA, most_graphs=2)
        (first,) = calls("double", doubled, on_cuda())
        (second,) = calls("double", doubled, on_cuda() + 1)
        assert plain(first).tolist() == [0, 2, 4, 6]
        assert plain(second).tolist() == [2, 4, 6, 8]
        outputs = next(iter(calls._graphs.values())).outputs
        assert plain(outputs[0]).tolist() == [2, 4, 6, 8]
        calls("double", doubled, torch.ones(2, 2, device=CUDA))
        assert plain(outputs[0]).isnan().all()  # a result that is not copied is another's memory


@pytest.mark.parametrize(
    "function",
    [
        lambda rows: (rows * rows.sum().item(),),
        lambda rows: (rows[rows > 0],),
        lambda rows: (rows + torch.ones(4).to(CUDA),),
        lambda rows: (rows.add_(1),),
    ],
    ids=["a look at a value", "a shape by values", "a copy", "a write to an input"],
)
def test_what_cannot_be_captured_is_refused(function: Callable[[Tensor], tuple[Tensor]]) -> None:
    with pretended_cuda(1):
        calls = GraphCalls(CUDA, most_graphs=2)
        with pytest.raises(AssertionError):
            calls("refused", function, on_cuda())


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
