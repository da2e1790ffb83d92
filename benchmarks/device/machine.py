"""What the machine is, and its two peak rates: a large matrix product and a large copy."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib import metadata

import torch

from benchmarks.device.record import Record
from benchmarks.device.scale import Scale
from benchmarks.device.timing import device_ms
from streamer.sources.cuda_decoding import why_no_cuda

_PACKAGES = ("torch", "triton", "torchvision", "transformers", "av", "numpy", "sam2")


def run(scale: Scale, record: Record) -> None:
    """Measure what is not recorded yet."""
    if not record.has("versions"):
        record.add("versions", **_versions(), device=_device(scale), nvdec=why_no_cuda() or "here")
    dtype = getattr(torch, scale.dtype)
    if not record.has("product"):
        left = torch.randn(scale.product, scale.product, dtype=dtype, device=scale.device)
        ms = device_ms(lambda: left @ left, scale)
        record.add("product", tflops=round(2 * scale.product**3 / ms / 1e9, 3), dtype=scale.dtype)
    if not record.has("copy"):
        source = torch.empty(scale.product**2 * 16, dtype=torch.uint8, device=scale.device)
        target = torch.empty_like(source)
        ms = device_ms(lambda: target.copy_(source), scale)
        record.add("copy", tb_per_s=round(2 * source.nbytes / ms / 1e9, 4))


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "cores": str(os.cpu_count())}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "missing"
    return found


def _device(scale: Scale) -> str:
    if scale.device == "cpu" or shutil.which("nvidia-smi") is None:
        return platform.processor() or platform.machine()
    query = "--query-gpu=name,driver_version,memory.total,mig.mode.current,clocks.max.sm"
    found = subprocess.run(
        ["nvidia-smi", query, "--format=csv,noheader"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or found.stderr.strip()
