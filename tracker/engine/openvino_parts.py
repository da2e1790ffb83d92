"""Parts of the network by OpenVINO, where it is installed and measures faster.

Small models are bound by many small operations, which OpenVINO fuses. Parts are exported by
``torch.export`` once for each set of weights, a few seconds, and kept for the next start. OpenVINO
(the extra ``masklet[openvino]``, Apache-2.0) is imported here only, when a part is loaded.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tracker.model.chunking import join

Function = Callable[..., tuple[Tensor, ...]]

_log = logging.getLogger(__name__)

# Changes when the functions that are exported do.
_VERSION = 5
# Larger models gain nothing: 3 % for the encoder of sam2.1 tiny (39 million).
_MOST_PARAMETERS = 20_000_000
# Bound on the sets of weights whose parts are kept on disk; the oldest goes.
_MOST_KEPT = 4
_RUNS = 8
# Bound on the rows that are computed at once, each by its share of the threads.
_MOST_AT_ONCE = 4
# Relative to the largest value; what is reached is 1e-5.
_TOLERANCE = 1e-3
_REFUSALS = (RuntimeError, ValueError, TypeError, OSError, ImportError)


class Part(NamedTuple):
    """A function of one row's tensors, and an example of them.

    ``at_once``: the most rows that are computed at once; more take more memory.
    """

    function: Function
    example: tuple[Tensor, ...]
    at_once: int = _MOST_AT_ONCE


class OpenVinoParts:
    """Exports, measures and loads the parts of one network at one image size.

    Every row runs by itself: shapes never change, and no row depends on another. Where there are
    enough rows several run at once on a share of the threads each, which wait for each other less
    often; the others run one after the other, by all threads.
    """

    def __init__(self, folder: Path, model: nn.Module, identity: str) -> None:
        """``identity`` names the weights and the image size."""
        text = f"{_VERSION} {identity} {torch.__version__} {version()}"
        self._folder = folder / "openvino" / hashlib.sha256(text.encode()).hexdigest()[:16]
        self._model = model

    def measure(self, parts: Mapping[str, Part]) -> dict[str, dict[str, float]]:
        """Milliseconds of each part in PyTorch and OpenVINO, processor time of one thread.

        A part that does not convert, or whose results differ, is left out.
        """
        found = {}
        for name, part in parts.items():
            try:
                found[name] = self._measure(name, part)
            except _REFUSALS as error:
                _log.warning("%s by OpenVINO is left out: %s", name, _first_line(error))
        return {name: times for name, times in found.items() if times}

    def load(self, parts: Mapping[str, Part], names: Iterable[str]) -> dict[str, Function]:
        """These parts, by OpenVINO, on the threads of the calling one; those that load."""
        loaded: dict[str, Function] = {}
        for name in names:
            try:
                loaded[name] = self._compiled(name, parts[name], torch.get_num_threads())
            except _REFUSALS as error:
                _log.warning("%s by OpenVINO is left out: %s", name, _first_line(error))
        return loaded

    def _measure(self, name: str, part: Part) -> dict[str, float]:
        compiled = self._compiled(name, part, threads=1)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            for made, expected in zip(
                compiled(*part.example), part.function(*part.example), strict=True
            ):
                difference = float((made - expected).abs().max())
                if not difference <= _TOLERANCE * float(expected.abs().max()):
                    _log.warning("%s by OpenVINO is off by %.3g: left out", name, difference)
                    return {}
            calls = {"torch": part.function, "openvino": compiled}
            least = dict.fromkeys(calls, float("inf"))
            for _ in range(_RUNS):
                for library, call in calls.items():
                    # Of the process: OpenVINO computes in a thread of its own.
                    began_s = time.process_time()
                    call(*part.example)
                    least[library] = min(least[library], 1000 * (time.process_time() - began_s))
        finally:
            torch.set_num_threads(threads)
        return least

    def _compiled(self, name: str, part: Part, threads: int) -> Function:
        import openvino

        file = self._folder / f"{name}.xml"
        core = openvino.Core()
        if file.is_file():
            try:
                return self._by_rows(core, file, threads, part.at_once)
            except RuntimeError as error:
                _log.warning("%s is exported anew: %s", file, _first_line(error))
        self._export(part, file)
        return self._by_rows(core, file, threads, part.at_once)

    def _by_rows(self, core: Any, file: Path, threads: int, most: int) -> Function:
        settings = {
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "f32",  # otherwise bfloat16 where there are units for it
            "ENABLE_CPU_PINNING": False,  # PyTorch's threads use the same cores in turn
            "CACHE_DIR": str(self._folder),
        }

        def requests(count: int, hint: str) -> list[Any]:
            own = settings | {"NUM_STREAMS": count, "PERFORMANCE_HINT": hint}
            compiled = core.compile_model(file, "CPU", own)
            return [compiled.create_infer_request() for _ in range(count)]

        (alone,) = requests(1, "LATENCY")
        at_once = min(threads, most)
        return _Rows(alone, requests(at_once, "THROUGHPUT") if at_once > 1 else [alone])

    def _export(self, part: Part, file: Path) -> None:
        """Convert a part; the file is read back, since a conversion borrows the tensors' memory."""
        import openvino

        began_s = time.monotonic()
        part.function(*part.example)  # fills tables that are computed once
        with torch.inference_mode(mode=False), torch.no_grad():
            example = tuple(tensor.clone() for tensor in part.example)
            exported = torch.export.export(
                _Module(self._model, part.function), example, strict=False
            )
            converted = _converted(exported)
            converted.reshape(
                {
                    index: openvino.PartialShape(list(tensor.shape))
                    for index, tensor in enumerate(example)
                }
            )
        self._make_room()
        partial = file.with_name(f"partial-{os.getpid()}-{file.name}")
        openvino.save_model(converted, partial, compress_to_fp16=False)
        partial.with_suffix(".bin").replace(file.with_suffix(".bin"))
        partial.replace(file)
        _log.info("exported to OpenVINO in %.1f s, once: %s", time.monotonic() - began_s, file)

    def _make_room(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        others = [each for each in self._folder.parent.iterdir() if each != self._folder]
        others.sort(key=lambda folder: folder.stat().st_mtime, reverse=True)
        for folder in others[_MOST_KEPT - 1 :]:
            shutil.rmtree(folder, ignore_errors=True)


def _converted(exported: Any) -> Any:
    import openvino

    try:
        return openvino.convert_model(exported)
    except Exception as error:  # OpenVINO's own derive from nothing narrower
        raise RuntimeError(str(error)) from error


def version() -> str | None:
    """The version of OpenVINO; None without it."""
    try:
        return importlib.metadata.version("openvino")
    except importlib.metadata.PackageNotFoundError:
        return None


def can_gain(model: nn.Module) -> bool:
    """Whether parts of this network are worth exporting: small, and in float32."""
    parameters = list(model.parameters())
    return sum(each.numel() for each in parameters) <= _MOST_PARAMETERS and all(
        each.dtype == torch.float32 for each in parameters
    )


class _Module(nn.Module):
    """A function as the module that ``torch.export`` takes, with the parameters it uses."""

    def __init__(self, model: nn.Module, function: Function) -> None:
        super().__init__()
        self.model = model
        self.function = function

    def forward(self, *row: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.function(*row))


class _Rows:
    """A part of N rows: by ``alone`` one after the other, by ``together`` as many at once."""

    def __init__(self, alone: Any, together: Sequence[Any]) -> None:
        self._alone = alone
        self._together = together

    def __call__(self, *tables_N: Tensor) -> tuple[Tensor, ...]:
        rows = list(zip(*(table_N.split(1) for table_N in tables_N), strict=True))
        made: list[tuple[Tensor, ...]] = []
        while rows:
            requests = self._together if len(rows) >= len(self._together) else [self._alone]
            made += _infer(requests, rows[: len(requests)])
            rows = rows[len(requests) :]
        return tuple(join(column) for column in zip(*made, strict=True))


def _infer(requests: Sequence[Any], rows: Sequence[tuple[Tensor, ...]]) -> list[tuple[Tensor, ...]]:
    for request, row in zip(requests, rows, strict=True):
        request.start_async([_array(tensor) for tensor in row], share_inputs=True)
    for request in requests:
        request.wait()
    # Copies: the next call fills the same memory.
    return [
        tuple(torch.from_numpy(tensor.data.copy()) for tensor in request.output_tensors)
        for request in requests
    ]


def _array(tensor: Tensor) -> Any:
    """NumPy has no bfloat16, in which memories are kept; parts take float32."""
    same = tensor.float() if tensor.dtype == torch.bfloat16 else tensor
    return same.contiguous().numpy()


def _first_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
