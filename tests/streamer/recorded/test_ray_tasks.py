"""A folder of clips on a Ray cluster of this machine: results as without it."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from streamer.errors import ConfigError
from streamer.recorded.job import read_jobs
from streamer.recorded.job_options import JobOptions, Outputs
from streamer.recorded.ray_tasks import run_on_ray
from tests.streamer.recorded.made import video
from tests.streamer.recorded.test_job import PROMPTS, Told, files, run


@pytest.mark.own_process
@pytest.mark.timeout(600)  # a cluster begins, and each task loads torch
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
def test_clips_of_a_folder_have_the_results_they_have_here(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Ray gives each task one thread; sums must be made in the same order here.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    # A cluster that was killed is still named here. A folder of its own: sockets need short names.
    with tempfile.TemporaryDirectory(prefix="ray-") as killed:
        monkeypatch.setenv("RAY_TMPDIR", killed)
        (Path(killed) / "ray").mkdir()
        (Path(killed) / "ray" / "ray_current_cluster").write_text("127.0.0.1:1")
        compare_with_ray(checkpoint, tmp_path)


def compare_with_ray(checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    for name in ("a.mp4", "b.mp4"):
        video(folder / name, 8)
    options = JobOptions(
        tmp_path / "here", Outputs(masks=True), model=str(checkpoint), device="cpu"
    )
    run([folder], options)
    told = Told()
    jobs = read_jobs([folder], tmp_path / "prompts.json")
    run_on_ray(jobs, replace(options, out=tmp_path / "ray"), told, lambda: False)
    assert told.frames == 2  # clips
    assert files(tmp_path / "ray") == files(tmp_path / "here")

    (tmp_path / "prompts.json").write_text(json.dumps([PROMPTS[0] | {"frame_index": 8}]))
    with pytest.raises(ConfigError, match="frames 0 to 7, got 8"):
        run_on_ray(read_jobs([folder], tmp_path / "prompts.json"), options, told, lambda: False)
