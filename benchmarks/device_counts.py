"""Kernels and bytes of a step on a CUDA device, counted without one: before, and now.

``python -m benchmarks.device_counts --docs`` counts again and replaces the table in
docs/benchmarks.md. Takes minutes of one core, and no device. ``device_counts.json`` beside this
file holds the counts before the work on them began (commit 76a81a0), made by ``--save``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from benchmarks.shapes_only import Counts, shapes_only
from tracker import PRESETS, ModelConfig, Prompt, RobustOptions, Tracker, TrackerOptions
from tracker.engine.attention_choice import BLOCKS, WIDE_BLOCKS, by_triton
from tracker.engine.device_attention import DeviceAttention
from tracker.engine.device_trunk import FUSED
from tracker.model import Sam2

BEFORE = Path(__file__).with_suffix(".json")
DOCS = Path(__file__).parents[1] / "docs/benchmarks.md"
BEGIN, END = "<!-- device counts -->\n", "<!-- end of device counts -->\n"
HEIGHT, WIDTH = 720, 1280
POLICIES = ("sam2", "robust")
OBJECTS = (1, 16)
OUTSIDE = "outside graphs"
OTHER_ENCODERS = ("nano", "edgetam", "sam2.1_hiera_base_plus", "sam2.1_hiera_large")
# Attention's own kernels: the rest of a call is what can be fused.
ATTENTION = ("aten::scaled_dot_product_attention", "triton::_attend", "triton::_combine")

# A part of a step: its kernels and bytes, and of the whole step also replays and transfers.
Part = dict[str, int]
Result = dict[str, Part]


def of_step(config: ModelConfig, policy: str, objects: int) -> Result:
    """One step with full memories, by the calls that are captured; ``OUTSIDE`` is the rest."""
    with shapes_only() as counting, mock.patch("tracker.tracker.fingerprint", return_value=""):
        device = torch.device("cuda", 0)
        options = TrackerOptions(
            max_objects=objects,
            memory_policy=policy,  # type: ignore[arg-type]
            robust=RobustOptions(closer_look=False),  # it reads the first look's mask: none here
        )
        model = Sam2(config)
        tracker = Tracker(model, device, options)
        # On a device the warm-up measures; this one cannot.
        tracker._engine._attention[config.image_size] = DeviceAttention(
            model,
            {1: by_triton(WIDE_BLOCKS[0], 4), 4: by_triton(WIDE_BLOCKS[0], 1)},
            {1: by_triton(BLOCKS[0], 4), 4: by_triton(BLOCKS[0], 1)},
        )
        session = tracker.open_session()
        use_fused(model)
        image = tracker.prepare(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
        prompts = [Prompt(number, ((640, 360),), (1,)) for number in range(objects)]
        for index in range(config.recent_memories + config.recent_pointers + 2):
            counting.restart()
            tracker.step([(session, image, [] if index else prompts)])
        calls = {OUTSIDE: counting.outside, **counting.replayed}
        parts = {name: _part([counts]) for name, counts in calls.items()}
        whole = _part(calls.values()) | {
            "transfers": counting.outside.transfers,
            "replays": counting.replays,
        }
        return {**parts, "whole step": whole}


def of_encoder(config: ModelConfig) -> Part:
    """The image encoder alone."""
    with shapes_only() as counting, mock.patch("tracker.tracker.fingerprint", return_value=""):
        model = Sam2(config)
        tracker = Tracker(model, torch.device("cuda", 0), TrackerOptions(max_objects=1))
        use_fused(model)
        image = tracker.prepare(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
        counting.restart()
        tracker.step([(tracker.open_session(), image, [Prompt(1, ((640, 360),), (1,))])])
        return _part([counting.replayed["encode_image"]])


def use_fused(model: Sam2) -> None:
    """Run the trunk as the warm-up decides on a device."""
    trunk = model.image_encoder.trunk
    trunk.fused = FUSED.get(type(trunk))


def measure() -> dict[str, Result]:
    """Every cell of the table."""
    tiny = PRESETS["sam2.1_hiera_tiny"]
    counted = {
        f"{policy}, {objects}": of_step(tiny, policy, objects)
        for policy in POLICIES
        for objects in OBJECTS
    }
    return {**counted, "encoders": {name: of_encoder(PRESETS[name]) for name in OTHER_ENCODERS}}


def report(before: dict[str, Result], now: dict[str, Result]) -> str:
    """The tables, as markdown."""
    columns = [f"{policy}, {objects}" for policy in POLICIES for objects in OBJECTS]
    ends = [f"{name} object{'' if name.endswith(' 1') else 's'}" for name in columns]
    lines = [f"| tiny, 1024², memories full | {' | '.join(ends)} |", "|---" * 5 + "|"]
    names = dict.fromkeys(
        name for counted in (now, before) for column in columns for name in counted[column]
    )
    for name in sorted(names, key=(OUTSIDE, "whole step").__contains__):
        cells = (
            _change(before[column].get(name), now[column].get(name), "kernels")
            + "; "
            + _change(before[column].get(name), now[column].get(name), "bytes")
            for column in columns
        )
        lines.append(f"| {name} | {' | '.join(cells)} |")
    for title, name, key in (
        ("attend_memory beyond attention", "attend_memory", "beside_attention"),
        ("copies between host and device", "whole step", "transfers"),
        ("replays", "whole step", "replays"),
    ):
        cells = (
            _change(before[column].get(name), now[column].get(name), key) for column in columns
        )
        lines.append(f"| {title} | {' | '.join(cells)} |")
    lines += ["", "| image encoder, trained size | kernels | bytes |", "|---|---|---|"]
    for name, part in now["encoders"].items():
        earlier = before["encoders"][name]
        changes = (_change(earlier, part, key) for key in ("kernels", "bytes"))
        lines.append(f"| {name} | {' | '.join(changes)} |")
    return "\n".join(lines) + "\n"


def _part(counted: Iterable[Counts]) -> Part:
    total = Counts()
    for counts in counted:
        total += counts
    own = sum(total.bytes[name] for name in total.bytes if name.startswith(ATTENTION))
    every = total.bytes.total()
    return {"kernels": total.kernels.total(), "bytes": every, "beside_attention": every - own}


def _change(before: Part | None, now: Part | None, key: str) -> str:
    return " → ".join(
        "–"
        if part is None
        else f"{part[key] / 1e9:.2f} GB"
        if key in ("bytes", "beside_attention")
        else str(part[key])
        for part in (before, now)
    )


def main(arguments: list[str] | None = None) -> int:
    """Count, and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.device_counts", description=__doc__)
    parser.add_argument("--docs", action="store_true", help="replace the table in docs")
    parser.add_argument("--save", type=Path, metavar="FILE", help="also write the counts there")
    options = parser.parse_args(arguments)
    counted = measure()
    if options.save:
        options.save.write_text(json.dumps(counted, indent=1) + "\n")
    text = report(json.loads(BEFORE.read_text()) if BEFORE.exists() else counted, counted)
    sys.stdout.write(text)
    if options.docs:
        head, _, rest = DOCS.read_text().partition(BEGIN)
        DOCS.write_text(f"{head}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
