"""The demo: starting boxes, films and figures from known results, and one short run."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
import pytest
from PIL import Image

from streamer.cli.demo.demo import Recording
from streamer.cli.demo.film import draw, make_film, scene_index
from streamer.cli.demo.settings import RATE_HZ, demo_settings, starting_boxes
from streamer.cli.terminal import Terminal
from streamer.wire.mask_codecs import encode_crop
from streamer.wire.messages import (
    FrameHeader,
    FrameMessage,
    MaskHeader,
    ObjectHeader,
    StageTimes,
    Topic,
    TopicKind,
)
from tests.masklet_process import Masklet
from tracker.scenes import DEMO_SEED, Match

SCENE = Match(DEMO_SEED)


def result(index: int, masks: dict[int, Any]) -> FrameMessage:
    """What a subscriber gets when the daemon found ``masks`` on the scene's frame ``index``."""
    objects, parts = [], []
    for object_id, mask in masks.items():
        rows, columns = np.nonzero(mask)
        box = (0, 0, 0, 0)
        header = None
        if rows.size:
            box = (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
            crop = mask[box[1] : box[3], box[0] : box[2]]
            header = MaskHeader(len(parts), "bits", box[:2], crop.shape)
            parts.append(encode_crop(crop, "bits"))  # type: ignore[arg-type]
        objects.append(
            ObjectHeader(id=object_id, state="visible", bbox=box, area=rows.size, score=0.9,
                         object_score=0.9, label=f"player {object_id}", mask=header)
        )  # fmt: skip
    header = FrameHeader(
        schema="masklet/1", publisher_id="test", epoch=1, seq=index, stream_id="match",
        session_id="s", frame_index=index,
        pts=round(index * 1e6 / RATE_HZ), time_base=(1, 1_000_000),
        capture_time_ns=0, clock_source="synthetic", arrival_time_ns=0, width=640, height=360,
        stage_times_ns=StageTimes(decoded=1, started=2, tracked=3, published=41_000_000),
        dropped_since_last={"superseded": 1}, objects=objects,
    )  # fmt: skip
    return FrameMessage(Topic(TopicKind.FRAME, "match"), header, tuple(parts))


def name(object_id: int) -> str:
    """What the figures call an object: the scene's name, whatever a visitor made of it."""
    return f"{object_id} {SCENE.labels[object_id]}"


def test_boxes_are_those_of_the_first_frame() -> None:
    first = SCENE.render(0)
    boxes = starting_boxes(SCENE)
    assert len(boxes) == 2
    for target in boxes:
        object_id = int(str(target["id"]))
        assert target["box"] == list(first.boxes[object_id])
        assert target["label"] == first.labels[object_id]
        assert object_id != SCENE.ball_id
        assert first.visible_fraction[object_id] > 0.9


def test_film_of_perfect_results_overlaps_fully(tmp_path: Path) -> None:
    indices = [0, 1, 3, 4, 9]  # some frames were dropped
    truths = {index: SCENE.render(index).masks for index in indices}
    results = [result(i, {each: truths[i][each] for each in (1, 2)}) for i in indices]
    film = make_film(SCENE, results, RATE_HZ, tmp_path, prompted=[1, 2])
    assert film.iou_by_object == {name(1): 1.0, name(2): 1.0}
    assert film.mean_iou == 1.0
    assert film.frames_scored == len(indices)
    with av.open(str(film.video)) as container:
        frames = list(container.decode(video=0))
        stream = container.streams.video[0]
        assert stream.time_base is not None
        times = [
            round(frame.pts * stream.time_base * RATE_HZ)
            for frame in frames
            if frame.pts is not None
        ]
    assert times == indices
    assert (frames[0].width, frames[0].height) == (640, 360)
    with Image.open(film.picture) as picture:
        assert picture.size == (640, 360)


def test_film_of_wrong_results_has_a_low_iou(tmp_path: Path) -> None:
    nothing = np.zeros((360, 640), dtype=np.bool_)
    found = result(0, {1: nothing, 2: ~nothing})
    film = make_film(SCENE, [found], RATE_HZ, tmp_path, prompted=[1, 2])
    assert film.iou_by_object[name(1)] == 0.0
    assert film.iou_by_object[name(2)] < 0.1


def test_objects_of_visitors_are_drawn_and_not_compared(tmp_path: Path) -> None:
    truth = SCENE.render(0).masks
    everything = np.ones((360, 640), dtype=np.bool_)
    found = result(0, {1: truth[1], 3: everything, 900: everything})
    film = make_film(SCENE, [found], RATE_HZ, tmp_path, prompted=[1, 2])
    assert film.iou_by_object == {name(1): 1.0}
    assert film.mean_iou == 1.0


def test_drawing_changes_only_the_pixels_under_the_masks() -> None:
    image = np.full((360, 640, 3), 100, dtype=np.uint8)
    mask = np.zeros((360, 640), dtype=np.bool_)
    mask[200:260, 300:360] = True
    drawn = draw(image, result(0, {1: mask}))
    assert (image == 100).all()
    assert (drawn[205:255, 305:355] != 100).any(axis=2).all()
    assert (drawn[100:150, 400:600] == 100).all()


def test_scene_index_follows_presentation_times() -> None:
    assert [scene_index(result(index, {}), RATE_HZ) for index in (0, 7, 1_000_000)] == [
        0, 7, 1_000_000,
    ]  # fmt: skip


def test_figures_cover_the_results_that_arrived() -> None:
    recording = Recording()
    for index in range(101):
        recording.add(result(index, {}), now_s=5 + index / 25, now_unix_ns=index * 1_000_000)
    assert recording.rate_hz == pytest.approx(25)
    assert recording.dropped == 101
    assert (recording.latency_ms(0.5), recording.latency_ms(0.99)) == (50, 99)


def test_taken_listeners_are_replaced_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_ports: Callable[[int], list[int]]
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    said = StringIO()
    (tmp_path / "masklet").mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as control, socket.socket() as results:
        control.bind(str(tmp_path / "masklet" / "control.sock"))
        control.listen()
        results.bind(("127.0.0.1", 0))
        results.listen()
        taken = results.getsockname()[1]
        monkeypatch.setattr("streamer.cli.demo.settings.DEFAULT_RESULTS_PORT", taken)
        settings = demo_settings(SCENE, "nano", "cpu", tmp_path, Terminal(file=said, width=200))
    assert settings["control"] == {"endpoint": f"ipc://{tmp_path}/control.sock"}
    assert settings["zeromq"]["endpoint"] != f"tcp://127.0.0.1:{taken}"
    assert f"port {taken} is taken: results at" in said.getvalue()
    assert "another masklet runs here" in said.getvalue()
    assert settings["state_directory"] == "none"  # the next demo begins anew


def test_demo_runs_and_leaves_a_film(random_nano: Path, tmp_path: Path) -> None:
    masklet = Masklet(tmp_path, environment={"XDG_RUNTIME_DIR": str(tmp_path)})
    finished = masklet("demo", "--duration-s", "2", "--output-dir", "out",
                       "--model", str(random_nano), timeout_s=170)  # fmt: skip
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert re.search(r"\d+ frames tracked at [\d.]+ a second", finished.stdout)
    assert "overlap with the ground truth (mean IoU" in finished.stdout
    assert re.search(r"page     http://127\.0\.0\.1:\d+/", finished.stdout)
    for name in ("match.mp4", "match.png", "daemon.log"):
        assert f"out/{name}" in finished.stdout
        assert (tmp_path / "out" / name).stat().st_size > 0


def test_demo_reports_why_the_daemon_did_not_start(tmp_path: Path) -> None:
    masklet = Masklet(tmp_path, environment={"XDG_RUNTIME_DIR": str(tmp_path)})
    finished = masklet("demo", "--duration-s", "2", "--model", "none.pt")
    assert finished.returncode == 1
    assert "the daemon ended with exit code 2" in finished.stderr
    assert "none.pt" in finished.stderr


def test_demo_that_is_ended_early_leaves_no_daemon_behind(
    random_nano: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "streamer.cli.main", "demo", "--model", str(random_nano)]
    environment = os.environ | {"XDG_RUNTIME_DIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    ) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if line.startswith("log "):
                break
        (daemon,) = psutil.Process(demo.pid).children()
        demo.terminate()
        demo.communicate(timeout=60)
    assert demo.returncode == 1  # nothing had arrived yet
    assert not daemon.is_running()
