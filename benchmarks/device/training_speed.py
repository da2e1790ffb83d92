"""How fast nano trains: steps of the real command on rendered clips, for a short while."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from benchmarks.device.record import Record
from benchmarks.device.scale import Scale
from tracker.scenes import DEMO_SEED, Match

_CLIPS, _FRAMES, _MINUTES = 4, 16, 0.3
_RECIPE = """\
bfloat16 = {bfloat16}
optimizer = "muon"
warmup_steps = 2
log_every = 1
[[phases]]
name = "speed"
steps = 1
image_size = 0
clips = {clips}
frames = {frames}
objects = 4
learning_rate = [1e-4, 1e-6]
motion = [0.5, 0.5]
"""


def run(scale: Scale, record: Record) -> None:
    """Measure what is not recorded yet."""
    if record.has("nano"):
        return
    with TemporaryDirectory() as name:
        folder = Path(name)
        _write_clips(folder / "masks", scale)
        clips, frames = (16, 6) if not scale.rehearsal else (1, 2)
        recipe = folder / "speed.toml"
        bfloat16 = str(not scale.rehearsal).lower()
        recipe.write_text(_RECIPE.format(bfloat16=bfloat16, clips=clips, frames=frames))
        minutes = _MINUTES if not scale.rehearsal else 0.02
        command = [sys.executable, "-m", "tracker.training", "--finetune", "nano"]
        command += ["--masks", str(folder / "masks"), "--config", str(recipe)]
        command += [
            "--minutes",
            str(minutes),
            "--device",
            scale.device,
            "--out",
            str(folder / "run"),
        ]
        command += ["--workers", "0"] if scale.rehearsal else []
        finished = subprocess.run(command, capture_output=True, text=True, check=False)
        log = folder / "run" / "log.jsonl"
        lines = [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []
        if finished.returncode or not lines:
            record.add("nano", failed=(finished.stderr or finished.stdout)[-400:])
            return
        last = lines[-1]
        record.add(
            "nano",
            steps=last["step"],
            step_s=last["step_s"],
            of_it_clips_s=last["data_s"],
            frames_per_s=round(clips * frames / last["step_s"], 1) if last["step_s"] else None,
        )


def _write_clips(folder: Path, scale: Scale) -> None:
    """Rendered matches as JPEGImages and Annotations."""
    clips, frames = (_CLIPS, _FRAMES) if not scale.rehearsal else (1, 3)
    for clip in range(clips):
        match = Match(DEMO_SEED + clip, 320, 320, 25)
        pictures, masks = (
            folder / part / f"match-{clip}" for part in ("JPEGImages", "Annotations")
        )
        pictures.mkdir(parents=True)
        masks.mkdir(parents=True)
        for index in range(frames):
            rendered = match.render(index)
            owners = np.zeros(rendered.image.shape[:2], np.uint8)
            for number, mask in list(rendered.masks.items())[:8]:
                owners[mask] = number
            Image.fromarray(rendered.image).save(pictures / f"{index:05d}.jpg")
            Image.fromarray(owners).save(masks / f"{index:05d}.png")
