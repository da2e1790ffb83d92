"""Recorded video, decode to written masks: `masklet segment` against Meta's predictor.

Both take the same file, weights and boxes, one process each, and write a PNG for each object and
frame. Meta's predictor reads a folder of JPEG files or a video with decord; here its frames come
from PyAV as a list in memory, as its own loader keeps them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import av
import cv2
import numpy as np
import psutil
import torch

from benchmarks import official_predictor
from benchmarks.machine import describe_machine
from benchmarks.results import Result
from streamer.recorded.job import ClipJob, run_jobs
from streamer.recorded.job_options import JobOptions, Outputs
from streamer.recorded.prompts import parse_prompts
from streamer.types import ImageArray
from tests.tracker.agreement.scripts import model_with, shapes_of
from tests.tracker.agreement.weights import amplified_weights
from tracker import PRESETS, Tracker
from tracker.images import transforms
from tracker.weights.checkpoint import save_checkpoint

MODEL = "sam2.1_hiera_tiny"
WIDTH, HEIGHT = 640, 360
MEBIBYTE = 1 << 20
Box = tuple[float, float, float, float]


def measure(implementation: str, objects: int, frames: int, image_size: int) -> Result:
    """One run in another process."""
    command = [sys.executable, "-m", "benchmarks.recorded_video", "--run", implementation]
    command += ["--objects", str(objects), "--frames", str(frames), "--image-size", str(image_size)]
    # As the masklet command does: threads that spin while they wait starve the others.
    environment = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "2000"} | os.environ
    finished = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    result: Result = json.loads(finished.stdout.splitlines()[-1])
    return result


def report(results: list[Result]) -> str:
    """The table, as markdown."""
    lines = [
        "| | objects | frames | seconds | processor seconds | memory at a quarter | at the end |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {each['implementation']} | {each['objects']} | {each['frames']} "
        f"| {each['seconds']:.1f} | {each['processor_seconds']:.1f} "
        f"| {each['quarter_mib']:.0f} MiB | {each['end_mib']:.0f} MiB |"
        for each in results
    ]
    first = results[0]
    return (
        "\n".join(lines)
        + f"\n\n{MODEL} at {first['image_size']}², random weights, float32, {WIDTH}×{HEIGHT} "
        + f"H.264, decode to written masks, model loaded before; {first['machine']}"
    )


def _run(implementation: str, objects: int, frames: int, image_size: int) -> Result:
    config = PRESETS[MODEL].replaced(image_size=image_size)
    weights = amplified_weights(shapes_of(config), seed=0)
    boxes = {
        each: (40.0 + 110 * (each - 1), 60.0, 140.0 + 110 * (each - 1), 260.0)
        for each in range(1, objects + 1)
    }
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        clip = _clip(folder / "clip.mp4", frames)
        if implementation == "masklet":
            save_checkpoint(
                model_with(config, weights), folder / "model.safetensors", torch.float32
            )
            seconds, processor_s, memory = _masklet(folder, clip, boxes)
        else:
            seconds, processor_s, memory = _official(folder, clip, boxes, config, weights)
        written = len(list(folder.rglob("masks/*/*.png")))
        assert written == frames * objects, f"{written} masks were written"
    return {
        "implementation": implementation,
        "objects": objects,
        "frames": frames,
        "image_size": image_size,
        "seconds": seconds,
        "processor_seconds": processor_s,
        "quarter_mib": memory[len(memory) // 4],
        "end_mib": memory[-1],
        "machine": describe_machine(),
    }


def _masklet(folder: Path, clip: Path, boxes: dict[int, Box]) -> tuple[float, float, list[float]]:
    entries = parse_prompts(
        [{"frame_index": 0, "object_id": key, "box": list(box)} for key, box in boxes.items()],
        "prompts",
        folder,
    )
    report = _Watch()
    options = JobOptions(
        folder / "out", Outputs(masks=True), model=str(folder / "model.safetensors"), device="cpu"
    )
    load = Tracker.from_checkpoint
    begun = [0.0, 0.0]

    def loaded(*arguments: object, **settings: object) -> Tracker:
        tracker = load(*arguments, **settings)  # type: ignore[arg-type]
        begun[:] = time.perf_counter(), time.process_time()
        return tracker

    with mock.patch.object(Tracker, "from_checkpoint", loaded):
        run_jobs([ClipJob(clip, entries)], options, report, lambda: False)
    return time.perf_counter() - begun[0], time.process_time() - begun[1], report.memory


class _Watch:
    """A report that notes the resident memory at each frame."""

    def __init__(self) -> None:
        self.memory: list[float] = []
        self._process = psutil.Process()

    def begin(self, frames: int, done: int) -> None:
        pass

    def frame(self) -> None:
        self.memory.append(self._process.memory_info().rss / MEBIBYTE)

    def stage(self, text: str, frames: int) -> None:
        pass

    def line(self, text: str) -> None:
        pass


@torch.inference_mode()
def _official(
    folder: Path, clip: Path, boxes: dict[int, Box], config: object, weights: object
) -> tuple[float, float, list[float]]:
    predictor = official_predictor.build(config, weights, torch.device("cpu"), False)  # type: ignore[arg-type]
    watch = _Watch()
    for key in boxes:
        (folder / "out" / "masks" / str(key)).mkdir(parents=True)
    begun, begun_processor_s = time.perf_counter(), time.process_time()
    with av.open(str(clip)) as container:
        images: list[ImageArray] = [
            np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
            for frame in container.decode(video=0)
        ]
    size = predictor.image_size
    pixels = transforms.images_to_tensor(images, size, torch.device("cpu"))
    with mock.patch(
        "sam2.sam2_video_predictor.load_video_frames", return_value=(pixels, HEIGHT, WIDTH)
    ):
        state = predictor.init_state("the clip")
    for key, box in boxes.items():
        predictor.add_new_points_or_box(state, frame_idx=0, obj_id=key, box=box)
    for index, ids, logits in predictor.propagate_in_video(state):
        for key, mask in zip(ids, (logits[:, 0] > 0).numpy(), strict=True):
            path = folder / "out" / "masks" / str(key) / f"{index:05}.png"
            cv2.imwrite(str(path), mask.astype(np.uint8) * 255)
        watch.frame()
    return (
        time.perf_counter() - begun,
        time.process_time() - begun_processor_s,
        watch.memory,
    )


def _clip(path: Path, frames: int) -> Path:
    noise = np.random.default_rng(0).integers(0, 255, (HEIGHT // 8, WIDTH // 8 + 64, 3), np.uint8)
    texture = cv2.resize(noise, None, fx=8, fy=8, interpolation=cv2.INTER_CUBIC)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        assert isinstance(stream, av.VideoStream), "libx264 encodes pictures"
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for index in range(frames):
            view = texture[:, 2 * index % 512 :][:, :WIDTH].astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(view, format="rgb24")))
        container.mux(stream.encode())
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", choices=("masklet", "official"), help="one alone")
    parser.add_argument("--objects", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--image-size", type=int, default=1024)
    options = parser.parse_args()
    if options.run:
        done = _run(options.run, options.objects[0], options.frames, options.image_size)
        sys.stdout.write(json.dumps(done) + "\n")
    else:
        sys.stdout.write(
            report(
                [
                    measure(name, count, options.frames, options.image_size)
                    for count in options.objects
                    for name in ("masklet", "official")
                ]
            )
            + "\n"
        )
