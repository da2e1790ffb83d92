"""The whole daemon: `masklet bench`, and decoding on the device against decoding in software.

The model has random weights, since a bare machine has none: a step costs the same with them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import torch

from benchmarks.device.record import Record
from benchmarks.device.scale import Scale
from streamer.sources.cuda_decoding import CudaDecoder, CudaDecodingError
from tests.tracker.agreement.scripts import model_with, shapes_of
from tests.tracker.agreement.weights import amplified_weights
from tracker.scenes import DEMO_SEED, Match
from tracker.weights.checkpoint import save_checkpoint

_STREAMS, _RATE_HZ, _OBJECTIVE_MS = 8, 30, 20
_WIDTH, _HEIGHT, _CLIP_FRAMES = 1280, 720, 60


def run(scale: Scale, record: Record) -> None:
    """Measure what is not recorded yet."""
    if record.has("bench"):
        return
    with TemporaryDirectory() as folder:
        clip = _clip(Path(folder) / "match.mp4", scale)
        for name, make in (("software", Software), ("device", CudaDecoder)):
            if not record.has(f"decoding {name}"):
                record.add(f"decoding {name}", **_decoding(clip, make))
        record.add("bench", **_bench(scale, Path(folder), clip))


def _bench(scale: Scale, folder: Path, clip: Path) -> dict[str, object]:
    """The cells of `masklet bench`: a recording's frame to a subscriber in another process."""
    model = "model=nano"
    if not scale.rehearsal:
        config = scale.config("tiny")
        weights = amplified_weights(shapes_of(config), seed=0, object_score_bias=10.0)
        save_checkpoint(model_with(config, weights), folder / "tiny.safetensors")
        model = f"model.checkpoint={folder / 'tiny.safetensors'}"
    streams, cell_s, limit_s = (_STREAMS, 3, 50) if not scale.rehearsal else (1, 1, 60)
    command = [sys.executable, "-m", "streamer.cli.main", "bench", "--no-plot"]
    command += ["--objective-p99-ms", str(_OBJECTIVE_MS), "--clip", str(clip)]
    command += ["--objects", "1", "--max-streams", str(streams), "--cell-s", str(cell_s)]
    command += ["--duration-s", str(limit_s), "--output-dir", str(folder)]
    command += [model, f"model.device={scale.device}"]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    written = folder / "bench.json"
    if not written.is_file():
        return {"failed": (finished.stderr or finished.stdout)[-400:]}
    return {"cells": json.loads(written.read_text())["cells"], "rc": finished.returncode}


def _clip(path: Path, scale: Scale) -> Path:
    """A clip of the rendered match as a camera encodes it."""
    width, height = (_WIDTH, _HEIGHT) if not scale.rehearsal else (128, 96)
    match = Match(DEMO_SEED, width, height, _RATE_HZ)
    with av.open(str(path), "w") as container:
        options = {"preset": "veryfast", "tune": "zerolatency"}
        stream = container.add_stream("libx264", rate=_RATE_HZ, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(_CLIP_FRAMES if not scale.rehearsal else 4):
            picture = av.VideoFrame.from_ndarray(match.render(index).image, format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


class Software:
    """A decoder with the methods of ``CudaDecoder``."""

    def __init__(self, context: av.VideoCodecContext) -> None:
        self._context = context

    def decode(self, packet: av.Packet[av.VideoStream]) -> list[av.VideoFrame]:
        """The pictures that a packet completed."""
        return self._context.decode(packet)

    def close(self) -> None:
        """Nothing to free."""


def _decoding(
    clip: Path, make: Callable[[av.VideoCodecContext], Software | CudaDecoder]
) -> dict[str, object]:
    """Milliseconds of wall clock and of all cores for a picture."""
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        packets = [packet for packet in container.demux(stream) if packet.size]
        try:
            decoder = make(stream.codec_context)
        except CudaDecodingError as error:
            return {"refused": str(error)}
        pictures, begun, begun_cpu = 0, time.perf_counter(), time.process_time()
        for packet in packets:
            pictures += len(decoder.decode(packet))
        wall, busy = time.perf_counter() - begun, time.process_time() - begun_cpu
        decoder.close()
    return {
        "pictures": pictures,
        "ms": round(1000 * wall / max(pictures, 1), 3),
        "processor_ms": round(1000 * busy / max(pictures, 1), 3),
        "cores": os.cpu_count(),
        "device": torch.cuda.is_available(),
    }
