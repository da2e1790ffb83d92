"""Which dtype a device computes in: what it can, or a refusal that names what it has."""

from __future__ import annotations

import logging

import pytest
import torch

from tests.tracker.pretended.device import pretended_cuda
from tracker.model.precision import resolved_dtype

CPU, OLD = torch.device("cpu"), torch.device("cuda:1")


def test_auto_is_what_the_device_computes_in(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert resolved_dtype("auto", CPU) is torch.float32
    with pretended_cuda(1, capability=(8, 0)):
        assert resolved_dtype("auto", OLD) is torch.bfloat16
    assert not caplog.records
    with pretended_cuda(1, capability=(7, 5)):
        assert resolved_dtype("auto", OLD) is torch.float32
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("cuda:1 has compute capability 7.5, bfloat16 needs 8.0: computing in fl")


def test_bfloat16_is_refused_with_the_capability_where_there_is_none() -> None:
    assert resolved_dtype("bfloat16", CPU) is torch.bfloat16
    with pretended_cuda(1, capability=(7, 5)):
        with pytest.raises(ValueError, match=r"cuda:1 has compute capability 7\.5, .* set auto, "):
            resolved_dtype("bfloat16", OLD)
        assert resolved_dtype("float16", OLD) is torch.float16
        assert resolved_dtype("float32", OLD) is torch.float32
