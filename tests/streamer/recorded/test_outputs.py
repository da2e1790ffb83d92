"""What is written is read back by the programs that it is for."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest
import supervision
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from trackeval.datasets import MotChallenge2DBox

from streamer.recorded.job_options import JobOptions, Outputs
from streamer.recorded.outputs.masks import davis_palette
from tests.streamer.recorded.made import FRAMES, HEIGHT, WIDTH, pictures, video
from tests.streamer.recorded.test_job import run

# pycocotools' masks under numpy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

PROMPTS = [{"frame_index": 2, "object_id": each, "box": [14, 20, 34, 40]} for each in (1, 7)]
OUTPUTS = Outputs(masks=True, mot=True, rle=True, coco="rle", youtube_vis=True, confidences="npz")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Path:
    """The results of a folder of pictures, ``clip``, beside it."""
    folder = tmp_path_factory.mktemp("written")
    clip = pictures(folder / "clip")
    run([clip], JobOptions(folder / "out", OUTPUTS, model=str(checkpoint)), prompts=PROMPTS)
    return folder


def _mask(written: Path, object_id: int, frame: int) -> np.ndarray:
    path = written / f"out/clip/masks/{object_id}/{frame:05}.png"
    return np.asarray(Image.open(path)) > 0 if path.exists() else np.zeros((HEIGHT, WIDTH), bool)


def test_pycocotools_reads_coco_and_the_lines(written: Path) -> None:
    coco = COCO(str(written / "out/clip/coco.json"))
    assert [each["file_name"] for each in coco.loadImgs([1, 12])] == ["1.png", "12.png"]
    assert coco.getAnnIds()
    for each in coco.loadAnns(coco.getAnnIds()):
        mask = coco.annToMask(each)
        assert (mask == _mask(written, each["object_id"], each["image_id"] - 1)).all()
        assert coco_mask.toBbox(each["segmentation"]).tolist() == each["bbox"]
        assert mask.sum() == each["area"]
    for line in (written / "out/clip/rle.jsonl").read_text().splitlines():
        frame = json.loads(line)
        for each in frame["objects"]:
            mask = coco_mask.decode(each["segmentation"])
            assert (mask == _mask(written, each["object_id"], frame["frame_index"])).all()


def test_youtube_vis_holds_every_frame_of_every_object(written: Path) -> None:
    content = json.loads((written / "out/clip/youtube_vis.json").read_text())
    assert content["videos"][0]["length"] == FRAMES
    assert [each["object_id"] for each in content["annotations"]] == [1, 7]
    for each in content["annotations"]:
        assert each["segmentations"][:2] == each["bboxes"][:2] == each["areas"][:2] == [None] * 2
        for frame, rle in enumerate(each["segmentations"]):
            found = np.zeros((HEIGHT, WIDTH), bool) if rle is None else coco_mask.decode(rle)
            assert (found == _mask(written, each["object_id"], frame)).all()


def test_supervision_reads_coco(written: Path) -> None:
    dataset = supervision.DetectionDataset.from_coco(
        images_directory_path=str(written / "clip"),
        annotations_path=str(written / "out/clip/coco.json"),
        force_masks=True,
    )
    assert len(dataset) == FRAMES
    found = 0
    for path, _, detections in dataset:
        frame = int(Path(path).stem) - 1
        masks = [_mask(written, object_id, frame) for object_id in (1, 7)]
        expected = [mask for mask in masks if mask.any()]
        assert len(detections) == len(expected)
        for mask, own in zip(detections.mask if expected else [], expected, strict=True):
            assert (mask == own).all()
            found += 1
    assert found


def test_trackeval_reads_mot(written: Path, tmp_path: Path) -> None:
    truth, ours = tmp_path / "truth/SET-train/clip", tmp_path / "ours/SET-train/masklet/data"
    (truth / "gt").mkdir(parents=True)
    ours.mkdir(parents=True)
    text = (written / "out/clip/mot.txt").read_text()
    (ours / "clip.txt").write_text(text)
    lines = [line.split(",") for line in text.splitlines()]
    (truth / "gt/gt.txt").write_text(
        "".join(",".join([*line[:6], "1", "1", "1"]) + "\n" for line in lines)
    )
    (truth / "seqinfo.ini").write_text(f"[Sequence]\nname=clip\nseqLength={FRAMES}\n")
    (tmp_path / "truth/seqmaps").mkdir()
    (tmp_path / "truth/seqmaps/SET-train.txt").write_text("name\nclip\n")
    dataset = MotChallenge2DBox(
        {
            "GT_FOLDER": str(tmp_path / "truth"),
            "TRACKERS_FOLDER": str(tmp_path / "ours"),
            "BENCHMARK": "SET",
            "PRINT_CONFIG": False,
        }
    )
    read = dataset.get_raw_seq_data("masklet", "clip")
    assert sum(map(len, read["tracker_ids"])) == len(lines) > 0
    assert all(
        np.diag(each).min() == 1 for each in read["similarity_scores"] if len(each)
    )  # the same boxes


def test_npz_holds_float16_probabilities(written: Path) -> None:
    with np.load(written / "out/clip/confidences/7/00004.npz") as content:
        share = content["confidence"]
    assert share.dtype == np.float16
    assert share.shape == (HEIGHT, WIDTH)
    assert ((share > 0.5) == _mask(written, 7, 4)).mean() > 0.999


def test_palette_is_that_of_davis() -> None:
    palette = davis_palette()
    assert palette[:15] == [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0, 0, 0, 128]


@pytest.mark.parametrize(("name", "sound"), [("a.mp4", "aac"), ("b.mkv", "pcm_s16le")])
def test_debug_video_keeps_times_and_sound(
    name: str, sound: str, checkpoint: Path, tmp_path: Path
) -> None:
    times = [0, 1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 15]
    clip = video(tmp_path / name, times=times, sound=sound, b_frames=0)
    outputs = Outputs(debug=True, coco="polygons")
    run([clip], JobOptions(tmp_path / "out", outputs, model=str(checkpoint)), prompts=PROMPTS)
    folder = tmp_path / "out" / clip.stem
    with av.open(str(folder / "debug.mp4")) as container:
        shown = [
            round(float(frame.pts * frame.time_base) * 25) for frame in container.decode(video=0)
        ]
    assert shown == times
    with av.open(str(folder / "debug.mp4")) as container:
        heard = sum(frame.samples for frame in container.decode(audio=0))
    assert heard >= 640 * FRAMES
    for each in json.loads((folder / "coco.json").read_text())["annotations"]:
        assert all(len(ring) >= 6 and len(ring) % 2 == 0 for ring in each["segmentation"])
