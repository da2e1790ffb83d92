"""Datasets in their published layouts, and the errors for others."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from tests.tracker.evaluation import layouts
from tracker.evaluation.clips import ClipFrame, EvaluationClip
from tracker.evaluation.readers.box_folders import box_folder_sequences
from tracker.evaluation.readers.box_lines import box_of
from tracker.evaluation.readers.listing import Listed
from tracker.evaluation.readers.mask_folders import mask_folder_sequences
from tracker.evaluation.readers.mot import mot_sequences
from tracker.evaluation.readers.pictures import load_picture
from tracker.evaluation.readers.sa_v import sa_v_sequences


def only(sequences: list[Listed]) -> tuple[EvaluationClip, list[ClipFrame]]:
    (sequence,) = sequences
    clip = sequence.read()
    frames = list(clip.open())
    assert len(frames) == clip.frame_count
    assert frames[0].image.shape == (layouts.HEIGHT, layouts.WIDTH, 3)
    return clip, frames


class TestMaskFolders:
    @pytest.mark.parametrize("layout", ["mose", "lvos", "youtube-vos"])
    def test_objects_may_come_late_and_frames_lack_annotations(
        self, tmp_path: Path, layout: str
    ) -> None:
        root = layouts.mask_folders(tmp_path)
        layouts.meta(root, ["1", "2"])
        clip, frames = only(mask_folder_sequences(root, layout, 16))
        assert (clip.name, clip.category, clip.object_ids) == ("walk", layout, (1, 2))
        assert [sorted(frame.truth) for frame in frames] == [[1, 2], [], [1, 2], [1, 2]]
        assert [int(frame.truth[2].sum()) for frame in frames if frame.truth] == [0, 36, 36]

    def test_a_split_folder_is_found(self, tmp_path: Path) -> None:
        layouts.mask_folders(tmp_path / "valid")
        assert only(mask_folder_sequences(tmp_path, "mose", 16))[0].object_ids == (1, 2)

    @pytest.mark.parametrize(
        ("layout", "step", "rate_hz"),
        [("youtube-vos", 5, 6.0), ("youtube-vos", 1, 30.0), ("lvos", 5, 6.0), ("lvos", 1, 6.0)],
    )
    def test_omitted_pictures_lower_the_rate(
        self, tmp_path: Path, layout: str, step: int, rate_hz: float
    ) -> None:
        layouts.pictures(
            tmp_path / "JPEGImages/walk", [f"{step * index:05d}.jpg" for index in range(3)]
        )
        layouts.index_map(tmp_path / "Annotations/walk/00000.png", {1: (2, 2)})
        assert only(mask_folder_sequences(tmp_path, layout, 16))[0].rate_hz == rate_hz

    def test_only_the_objects_of_the_list_count(self, tmp_path: Path) -> None:
        root = layouts.mask_folders(tmp_path)
        layouts.meta(root, ["2"])
        assert only(mask_folder_sequences(root, "youtube-vos", 16))[0].object_ids == (2,)

    def test_the_objects_visible_longest_are_kept(self, tmp_path: Path) -> None:
        root = layouts.mask_folders(tmp_path)
        assert only(mask_folder_sequences(root, "mose", 1))[0].object_ids == (1,)

    @pytest.mark.parametrize("size", ["480p", "Full-Resolution"])
    def test_davis_2017(self, tmp_path: Path, size: str) -> None:
        clip, _ = only(mask_folder_sequences(layouts.mask_folders(tmp_path, size), "davis", 16))
        assert clip.object_ids == (1, 2)
        assert clip.rate_hz == 24.0

    def test_davis_2016_has_one_object(self, tmp_path: Path) -> None:
        layouts.pictures(tmp_path / "JPEGImages/480p/walk", ["00000.jpg", "00001.jpg"])
        for index in range(2):
            path = tmp_path / f"Annotations/480p/walk/{index:05d}.png"
            layouts.index_map(path, {255: (3, 3)}, palette=False)
        clip, frames = only(mask_folder_sequences(tmp_path, "davis", 16))
        assert clip.object_ids == (1,)
        assert frames[1].truth[1].sum() == 36

    def test_undecided_pixels_belong_to_no_object(self, tmp_path: Path) -> None:
        layouts.pictures(tmp_path / "JPEGImages/walk", ["00000.jpg"])
        layouts.index_map(tmp_path / "Annotations/walk/00000.png", {3: (2, 2), 255: (12, 12)})
        clip, frames = only(mask_folder_sequences(tmp_path, "mose", 16))
        assert clip.object_ids == (3,)
        assert frames[0].truth[3].sum() == 36

    def test_errors_name_the_file_and_what_is_expected(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="JPEGImages: expected a folder with"):
            mask_folder_sequences(tmp_path, "mose", 16)
        root = layouts.mask_folders(tmp_path)
        (root / "meta.json").write_text('{"videos": []}')
        with pytest.raises(ValueError, match=r'meta.json: expected {"videos"'):
            mask_folder_sequences(root, "mose", 16)
        (root / "meta.json").unlink()
        (root / "JPEGImages/walk/00003.jpg").unlink()
        (sequence,) = mask_folder_sequences(root, "mose", 16)
        with pytest.raises(ValueError, match=r"00003.png: no picture of that name"):
            sequence.read()

    def test_coloured_annotations_are_refused(self, tmp_path: Path) -> None:
        root = layouts.mask_folders(tmp_path)
        layouts.pictures(root / "Annotations/walk", ["00000.png"])
        (sequence,) = mask_folder_sequences(root, "mose", 16)
        with pytest.raises(ValueError, match=r"00000.png: expected a palette or grey PNG.*RGB"):
            sequence.read()

    def test_sizes_that_differ_are_refused(self, tmp_path: Path) -> None:
        root = layouts.mask_folders(tmp_path)

        Image.new("RGB", (9, 9)).save(root / "JPEGImages/walk/00000.jpg")
        (sequence,) = mask_folder_sequences(root, "mose", 16)
        with pytest.raises(ValueError, match=r"32x24 pixels, but its picture .* has 9x9"):
            next(sequence.read().open())


class TestSaV:
    def test_val_and_test_folders(self, tmp_path: Path) -> None:
        names = [f"{index:05d}.jpg" for index in range(6)]
        layouts.pictures(tmp_path / "JPEGImages_24fps/sav_1", names)
        for name, column in (("000", 2), ("001", 20)):
            for index in (0, 4):
                path = tmp_path / f"Annotations_6fps/sav_1/{name}/{index:05d}.png"
                layouts.index_map(path, {1: (4, column)})
        clip, frames = only(sa_v_sequences(tmp_path, 16))
        assert (clip.object_ids, clip.rate_hz) == ((1, 2), 24.0)
        assert [sorted(frame.truth) for frame in frames] == [[1, 2], [], [], [], [1, 2], []]
        assert frames[4].truth[2][4, 20]

    # Of pycocotools itself, with this numpy.
    @pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
    def test_a_training_video_with_its_masklets(self, tmp_path: Path) -> None:
        with av.open(str(tmp_path / "sav_7.mp4"), "w") as container:
            stream = container.add_stream("mpeg4", Fraction(24))
            stream.width, stream.height, stream.pix_fmt = layouts.WIDTH, layouts.HEIGHT, "yuv420p"
            for _ in range(6):
                image = np.full((layouts.HEIGHT, layouts.WIDTH, 3), 99, dtype=np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
            container.mux(stream.encode())
        mask = np.zeros((layouts.HEIGHT, layouts.WIDTH), dtype=np.uint8)
        mask[3:9, 5:10] = 1
        coded = coco.encode(np.asfortranarray(mask))
        coded["counts"] = coded["counts"].decode()
        content = {"masklet": [[coded], [coded]], "video_frame_count": 6}
        (tmp_path / "sav_7_manual.json").write_text(json.dumps(content))
        clip, frames = only(sa_v_sequences(tmp_path, 16))
        assert (clip.name, clip.object_ids) == ("sav_7", (1,))
        assert [frame.truth[1].sum() for frame in frames if frame.truth] == [30, 30]

    def test_errors(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="JPEGImages_24fps: expected"):
            sa_v_sequences(tmp_path, 16)
        (tmp_path / "sav_7_manual.json").write_text("{}")
        with pytest.raises(FileNotFoundError, match=r"sav_7.mp4: expected beside"):
            sa_v_sequences(tmp_path, 16)[0].read()
        (tmp_path / "sav_7.mp4").touch()
        with pytest.raises(ValueError, match=r'manual.json: expected "masklet"'):
            sa_v_sequences(tmp_path, 16)[0].read()


class TestBoxLines:
    @pytest.mark.parametrize(
        ("line", "box"),
        [
            ("10,20,30,40", (10, 20, 40, 60)),
            ("10\t20 30, 40", (10, 20, 40, 60)),
            ("10.5,20,30.25,40", (10.5, 20, 40.75, 60)),
            ("0,0,10,2,8,12,-2,9", (-2, 0, 10, 12)),
            ("m10,20,3,4,0,12", (10, 20, 13, 24)),
            # Of a whole picture 8 wide: columns 2 and 3 of row 1, column 4 of row 2.
            ("m0,0,8,4,10,2,8,1,11", (2, 1, 5, 3)),
            ("m5,5,8,4,6,4", (5, 5, 13, 7)),  # one run over the end of a row
            ("m0,0,8,4,32", None),
            ("m0,0,8,4,32,0", None),
            ("NaN,NaN,NaN,NaN", None),
            ("5,5,0,0", None),
            ("0", None),
        ],
    )
    def test_formats_of_lines(self, line: str, box: tuple[float, ...] | None) -> None:
        assert box_of(line) == box

    @pytest.mark.parametrize(
        ("line", "told"), [("m0,0,8,4,30,3", "8x4 pixels, got 33"), ("m0,0,0,0,1", "0x0 pixels")]
    )
    def test_masks_that_do_not_fit_their_rectangle_are_refused(self, line: str, told: str) -> None:
        with pytest.raises(ValueError, match=f"expected runs of {told}"):
            box_of(line)

    @pytest.mark.parametrize("line", ["a,b,c,d", "1,2,3", "1,2,3,4,5"])
    def test_invalid_boxes(self, line: str) -> None:
        with pytest.raises(ValueError, match="expected left, top, width, height or the corners"):
            box_of(line)


class TestBoxFolders:
    lines = ("3,4,10,8", "4,4,10,8", "5,4,10,8")

    def test_vot_rectangles_and_polygons(self, tmp_path: Path) -> None:
        lines = ["3,4,13,4,13,12,3,12", "0", "5,4,10,8"]
        layouts.boxes(tmp_path / "ball", "groundtruth.txt", lines, "color")
        clip, frames = only(box_folder_sequences(tmp_path, "vot"))
        assert (clip.name, clip.annotation) == ("ball", "boxes")
        assert [frame.boxes[1] for frame in frames] == [(3, 4, 13, 12), None, (5, 4, 15, 12)]

    def test_vot_with_pictures_beside_the_truth(self, tmp_path: Path) -> None:
        layouts.boxes(tmp_path / "ball", "groundtruth.txt", list(self.lines), ".")
        assert only(box_folder_sequences(tmp_path, "vot"))[0].frame_count == 3

    def test_vot_has_a_frame_rate(self, tmp_path: Path) -> None:
        root = layouts.boxes(tmp_path / "ball", "groundtruth.txt", list(self.lines), "color")
        (root / "sequence").write_text("channels.color=color/%08d.jpg\nfps=30\nformat=default\n")
        assert only(box_folder_sequences(tmp_path, "vot"))[0].rate_hz == 30.0

    def test_lasot_counts_from_one_and_flags_absences(self, tmp_path: Path) -> None:
        root = layouts.boxes(tmp_path / "cat/cat-1", "groundtruth.txt", list(self.lines))
        (root / "full_occlusion.txt").write_text("0,1,0")
        (root / "out_of_view.txt").write_text("0,0,1")
        clip, frames = only(box_folder_sequences(tmp_path, "lasot"))
        assert clip.name == "cat-1"
        assert [frame.boxes[1] for frame in frames] == [(2, 3, 12, 11), None, None]

    def test_otb_with_several_objects(self, tmp_path: Path) -> None:
        root = layouts.boxes(tmp_path / "Jogging", "groundtruth_rect.1.txt", list(self.lines))
        (root / "groundtruth_rect.2.txt").write_text("1 1 4 4\n2 1 4 4\n3 1 4 4\n")
        sequences = box_folder_sequences(tmp_path, "otb")
        assert [each.name for each in sequences] == ["Jogging-1", "Jogging-2"]
        assert next(sequences[1].read().open()).boxes[1] == (0, 0, 4, 4)

    @pytest.mark.parametrize(
        ("name", "first", "pictures"),
        [("BlurCar3", 3, 3), ("BlurCar3", 1, 5), ("David", 299, 4), ("Diving", 1, 5)],
    )
    def test_otb_annotates_some_sequences_in_part(
        self, tmp_path: Path, name: str, first: int, pictures: int
    ) -> None:
        lines = ["1,1,4,4"] * pictures
        root = layouts.boxes(tmp_path / name, "groundtruth_rect.txt", lines, first=first)
        (root / "groundtruth_rect.txt").write_text("1,1,4,4\n" * 3)
        marked = {"BlurCar3": 3, "David": 300, "Diving": 1}[name]
        Image.new("RGB", (layouts.WIDTH, layouts.HEIGHT), "red").save(
            root / "img" / f"{marked:08d}.jpg"
        )
        clip, frames = only(box_folder_sequences(tmp_path, "otb"))
        assert clip.frame_count == 3
        assert frames[0].image[0, 0, 0] > 200
        assert frames[1].image[0, 0, 0] < 200

    def test_empty_truths_of_otb_are_skipped(self, tmp_path: Path) -> None:
        root = layouts.boxes(tmp_path / "Human4", "groundtruth_rect.txt", ["1\t1\t4\t4"] * 2)
        (root / "groundtruth_rect1.txt").touch()
        assert only(box_folder_sequences(tmp_path, "otb"))[0].name == "Human4"

    def test_errors_name_the_file(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match=r"expected NAME/groundtruth.txt"):
            box_folder_sequences(tmp_path, "lasot")
        root = layouts.boxes(tmp_path / "ball", "groundtruth.txt", list(self.lines), "color")
        (root / "groundtruth.txt").write_text("3,4,10,8\n4,4\n")
        (sequence,) = box_folder_sequences(tmp_path, "vot")
        with pytest.raises(ValueError, match=r"groundtruth.txt, line 2: expected left, top"):
            sequence.read()
        (root / "groundtruth.txt").write_text("3,4,10,8\n")
        with pytest.raises(ValueError, match=r"1 boxes, but 3 pictures"):
            sequence.read()


class TestMot:
    def test_pedestrians_that_count_are_tracked(self, tmp_path: Path) -> None:
        layouts.mot(tmp_path / "MOT17-02")
        clip, frames = only(mot_sequences(tmp_path, 16))
        assert (clip.name, clip.object_ids, clip.rate_hz) == ("MOT17-02", (7, 9), 14.0)
        assert frames[0].boxes == {7: (2, 2, 10, 10), 9: (14, 2, 22, 10)}
        assert frames[3].boxes == {7: (2, 2, 10, 10), 9: None}

    def test_objects_start_when_half_visible(self, tmp_path: Path) -> None:
        layouts.mot(tmp_path / "MOT17-02")
        _, frames = only(mot_sequences(tmp_path, 16))
        assert frames[0].prompt_boxes == {7: (2, 2, 10, 10)}
        assert frames[1].prompt_boxes == {7: (2, 2, 10, 10), 9: (14, 2, 22, 10)}

    def test_mot15_has_world_coordinates_instead_of_a_class(self, tmp_path: Path) -> None:
        root = layouts.mot(tmp_path / "PETS09-S2L1")
        (root / "gt/gt.txt").write_text("1,3,1,1,9,9,1,-8.5,-1.2,0\n2,3,1,1,9,9,1,83,2,0\n")
        clip, frames = only(mot_sequences(tmp_path, 16))
        assert clip.object_ids == (3,)
        assert [sorted(frame.prompt_boxes or {}) for frame in frames] == [[3], [3], [], []]

    def test_objects_can_start_from_matching_detections(self, tmp_path: Path) -> None:
        layouts.mot(tmp_path / "MOT17-02")
        _, frames = only(mot_sequences(tmp_path, 16, from_detections=True))
        assert [frame.prompt_boxes for frame in frames] == [
            {},
            {7: (3, 2, 11, 10), 9: (14, 3, 22, 11)},
            {},
            {},
        ]

    def test_the_longest_are_kept(self, tmp_path: Path) -> None:
        layouts.mot(tmp_path / "MOT17-02")
        assert only(mot_sequences(tmp_path, 1))[0].object_ids == (7,)

    def test_errors_name_the_file(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match=r"expected NAME/gt/gt.txt"):
            mot_sequences(tmp_path, 16)
        root = layouts.mot(tmp_path / "MOT17-02")
        (root / "gt/gt.txt").write_text("9,1,1,1,4,4,1,1,1\n")
        (sequence,) = mot_sequences(tmp_path, 16)
        with pytest.raises(ValueError, match=r"names frame 9, but .* holds 4 pictures"):
            sequence.read()
        (root / "gt/gt.txt").write_text("1,1\n")
        with pytest.raises(ValueError, match=r"gt.txt, line 1: expected frame,id"):
            sequence.read()


@pytest.mark.parametrize("kept_bytes", [0, 20, 400])
def test_a_truncated_picture_is_named(tmp_path: Path, kept_bytes: int) -> None:
    path = tmp_path / "00000.jpg"
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:kept_bytes])
    with pytest.raises(ValueError, match="00000.jpg: cannot be read as a picture"):
        load_picture(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("frameRate=14", "cannot be read: File contains no section headers"),
        ("[Sequence]\nframeRate=quick", "cannot be read: could not convert"),
        ("[Sequence]\nframeRate=0", "frameRate must be above 0, got 0"),
    ],
)
def test_invalid_information_on_a_mot_sequence_is_refused(
    tmp_path: Path, text: str, message: str
) -> None:
    layouts.mot(tmp_path / "walk")
    (tmp_path / "walk" / "seqinfo.ini").write_text(text)
    (sequence,) = mot_sequences(tmp_path, 16)
    with pytest.raises(ValueError, match=f"seqinfo.ini: {message}"):
        sequence.read()
