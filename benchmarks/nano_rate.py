"""Frames per second of the embedded model on a CPU, tracker only.

Pictures have the model's size, so that nothing is resized. The robust policy runs with its gates
open: every frame is remembered, so the memory bank is full, as it is while tracking goes well.
Steps with one and with eight objects alternate, by PyTorch alone and, where it is installed, with
OpenVINO. Decoding H.264 and resizing are timed separately and shown as a share of a frame with one
object.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from typing import Any, Literal

import av
import numpy as np

from benchmarks.machine import describe_machine
from benchmarks.results import Result
from streamer.config.state_folder import cache_folder
from tests.tracker.agreement.scripts import picture
from tracker import Prompt, RobustOptions, Tracker, TrackerOptions
from tracker.engine import openvino_parts
from tracker.options import EngineOptions

OBJECTS = (1, 8)
LIBRARIES: dict[str, Literal["auto", "off"]] = {"PyTorch": "off", "OpenVINO": "auto"}
SOURCES = ((360, 640), (720, 1280))
# With the four trackers' warm-up a minute on two cores.
FRAMES = 60
# The memory bank is full after 16 frames.
WARM_UP_FRAMES = 20
DECODED_FRAMES = 30


def measure(frames: int, dtype: str = "float32") -> Result:
    """Seconds of every step by library and number of objects; of decoding and resizing by size."""
    libraries = list(LIBRARIES)[: 1 if openvino_parts.version() is None else 2]
    trackers = {
        f"{objects} by {library}": _tracker(objects, dtype, LIBRARIES[library])
        for objects in OBJECTS
        for library in libraries
    }
    steps = {name: _stepping(tracker) for name, tracker in trackers.items()}
    taken: dict[str, dict[str, list[float]]] = {
        kind: {name: [] for name in steps} for kind in ("clock", "processor")
    }
    for index in range(WARM_UP_FRAMES + frames):
        for name, step in steps.items():
            clock_s, processor_s = _timed(lambda step=step, index=index: step(index))  # type: ignore[misc]
            if index >= WARM_UP_FRAMES:
                taken["clock"][name].append(clock_s)
                taken["processor"][name].append(processor_s)
    paths = trackers[f"{OBJECTS[0]} by {libraries[-1]}"].paths
    tracker = Tracker.from_checkpoint("nano", device="cpu")
    pictures_cost = {}
    for height, width in SOURCES:
        image = picture(0, height, width)
        resized = [_timed(lambda image=image: tracker.prepare(image))[0] for _ in range(30)]  # type: ignore[misc]
        pictures_cost[f"{width}x{height}"] = {
            "decode_s": _decoding_s(height, width),
            "resize_s": float(np.median(resized)),
        }
    return {
        "model": "nano",
        "image_size": tracker.config.image_size,
        "dtype": dtype,
        "frames": frames,
        "seconds": taken,
        "pictures": pictures_cost,
        "paths": {} if paths is None else paths.reasons(),
        "machine": describe_machine(),
    }


def _tracker(objects: int, dtype: str, openvino: Literal["auto", "off"]) -> Tracker:
    options = TrackerOptions(
        max_objects=objects,
        compute_dtype=dtype,  # type: ignore[arg-type]
        robust=RobustOptions(skip_absent=False, write_iou=0, return_iou=0),
        engine=EngineOptions(openvino=openvino, path_cache=str(cache_folder())),
    )
    tracker = Tracker.from_checkpoint("nano", device="cpu", options=options)
    tracker.warm_up()
    return tracker


def _stepping(tracker: Tracker) -> Callable[[int], Any]:
    session, objects = tracker.open_session(), tracker.options.max_objects
    size = tracker.config.image_size
    # The camera moves a little and back: the frames differ, without a cut between them.
    still = picture(0, size, size)
    pictures = [np.ascontiguousarray(np.roll(still, 2 * move, axis=1)) for move in (0, 1, 2, 1)]
    scale = size / 256

    def step(index: int) -> None:
        prompts = [
            Prompt(place + 1, box_xyxy=_box(place, scale)) for place in range(objects) if index == 0
        ]
        tracker.step([(session, pictures[index % len(pictures)], prompts)])

    return step


def _box(place: int, scale: float) -> tuple[float, float, float, float]:
    left = 20.0 + 25 * place
    return scale * left, scale * 60.0, scale * (left + 40.0), scale * 200.0


def _timed(run: Callable[[], Any]) -> tuple[float, float]:
    begun, begun_processor = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - begun, time.process_time() - begun_processor


def _decoding_s(height: int, width: int) -> float:
    """Median seconds of decoding an H.264 picture to RGB in one thread, as a source does."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(25))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        image = picture(0, height, width)
        for index in range(DECODED_FRAMES):
            moved = np.ascontiguousarray(np.roll(image, 3 * index, axis=1))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(moved, format="rgb24")))
        container.mux(stream.encode())
    file.seek(0)
    seconds = []
    with av.open(file, "r") as opened:
        opened.streams.video[0].thread_type = "NONE"
        begun = time.perf_counter()
        for frame in opened.decode(video=0):
            frame.to_ndarray(format="rgb24")
            seconds.append(time.perf_counter() - begun)
            begun = time.perf_counter()
    return float(np.median(seconds))


def report(result: Result) -> str:
    """The tables, as markdown."""
    clock, processor = result["seconds"]["clock"], result["seconds"]["processor"]
    lines = [
        "| objects, library | p50 | p95 | frames/s | processor time p50 |",
        "|---|---|---|---|---|",
    ]
    for name, taken in clock.items():
        middle = float(np.median(taken))
        lines.append(
            f"| {name} | {1000 * middle:.1f} ms | {1000 * np.percentile(taken, 95):.1f} ms "
            f"| {1 / middle:.1f} | {1000 * float(np.median(processor[name])):.1f} ms |"
        )
    one = min(float(np.median(taken)) for taken in clock.values())
    lines += ["", "| picture | decoding | resizing | share of a frame with one object |"]
    lines.append("|---|---|---|---|")
    paths = [f"- {path}: {reason}" for path, reason in result["paths"].items()]
    for name, cost in result["pictures"].items():
        both = cost["decode_s"] + cost["resize_s"]
        lines.append(
            f"| {name} | {1000 * cost['decode_s']:.1f} ms | {1000 * cost['resize_s']:.1f} ms "
            f"| {both / (one + both):.0%} |"
        )
    return (
        "\n".join(lines)
        + "\n\n"
        + "\n".join(paths)
        + f"\n\n{result['model']} at {result['image_size']}², {result['dtype']}, "
        + f"{result['frames']} frames after {WARM_UP_FRAMES} of warm-up, one stream; "
        + str(result["machine"])
    )


if __name__ == "__main__":
    sys.stdout.write(report(measure(FRAMES)) + "\n")
