"""What cannot be loaded or asked is one sentence that says what to do."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from streamer.config.starters import StarterConfig
from streamer.errors import StarterError
from streamer.starters.make_detector import DetectorMaker, shared_detector
from streamer.starters.words.captions import parsed_captions
from streamer.starters.words.load import load_detector
from streamer.starters.words.text_detector import TextDetector
from tests.fake_hub import FakeHub, fake_hub
from tests.streamer.starters.words.tiny_models import save_tiny

IMAGE = np.zeros((48, 80, 3), np.uint8)
NAME = "ada/sees-words"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("owlv2", tmp_path_factory.mktemp("owlv2"))


@pytest.fixture(scope="module")
def saved_closed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("rt_detr", tmp_path_factory.mktemp("rt_detr"))


@pytest.fixture
def hub(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with fake_hub(tmp_path / "cache", monkeypatch) as served:
        served.models[NAME] = saved
        yield served


def test_hub_name_is_fetched_for_a_command_and_not_by_a_starter(hub: FakeHub) -> None:
    starter = StarterConfig(kind="text", model=NAME, captions={"dog": "dog"})
    with pytest.raises(StarterError, match=f"run `masklet checkpoints pull {NAME}`"):
        DetectorMaker()(starter)
    assert hub.requests == []
    TextDetector.of({"dog": "dog"}, NAME, device="cpu")(IMAGE)
    sent = len(hub.requests)
    assert sent > 0
    DetectorMaker()(starter)(IMAGE)
    assert len(hub.requests) == sent


def test_hub_that_fails_is_one_sentence(hub: FakeHub) -> None:
    with pytest.raises(StarterError, match=r"127\.0\.0\.1 has no ada/nothing"):
        TextDetector.of({"dog": "dog"}, "ada/nothing")
    hub.status = 503
    with pytest.raises(StarterError, match="answered 503"):
        TextDetector.of({"dog": "dog"}, NAME)


def test_missing_extra_names_the_command(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(StarterError, match=r"pip install 'masklet\[text\]'"):
        load_detector(str(saved), fetch=False)


def test_what_is_no_model_or_another_is_named(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(StarterError, match="neither a folder nor a name of the Hugging Face hub"):
        load_detector("grounding dino", fetch=False)
    with pytest.raises(StarterError, match="is no model of transformers"):
        load_detector(str(tmp_path), fetch=False)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(
        StarterError, match=r"is of the kind bert, and these can be asked: grounding-dino"
    ):
        load_detector(str(tmp_path), fetch=False)
    (tmp_path / "config.json").write_text('{"model_type": "owlv2"}')
    with pytest.raises(StarterError, match="cannot be loaded"):
        load_detector(str(tmp_path), fetch=False)


def test_weights_that_are_missing_are_not_made_up(saved: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(saved, tmp_path / "damaged")
    state = load_file(folder / "model.safetensors")
    del state["class_head.dense0.bias"]
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(StarterError, match=r"1 of its weights .* \(class_head\.dense0\.bias\)"):
        load_detector(str(folder), fetch=False)


def test_captions_are_needed_where_there_are_no_classes(saved: Path, saved_closed: Path) -> None:
    opened = load_detector(str(saved), fetch=False)
    with pytest.raises(StarterError, match=r"give it captions, such as starter\.captions"):
        TextDetector(opened, {})
    closed = load_detector(str(saved_closed), fetch=False)
    with pytest.raises(StarterError, match="knows no 'dog'; its classes are person, ball, car"):
        TextDetector(closed, {"dog": "dog"})


def test_streams_with_equal_settings_share_a_network(saved: Path) -> None:
    make = DetectorMaker()
    settings = StarterConfig(kind="text", model=str(saved), captions={"dog": "dog"})
    first, second = make(settings), make(settings.changed(captions={"person": "player"}))
    assert isinstance(first, TextDetector)
    assert isinstance(second, TextDetector)
    assert first._loaded is second._loaded
    assert shared_detector(settings) == shared_detector(settings.changed(minimum_score=0.9))


@pytest.mark.parametrize(
    ("text", "captions"),
    [
        ("dog", {"dog": "dog"}),
        ("sports ball, person", {"sports ball": "sports ball", "person": "person"}),
        ("a man in red=player", {"a man in red": "player"}),
    ],
)
def test_words_of_a_command_line(text: str, captions: dict[str, str]) -> None:
    assert parsed_captions(text) == captions


@pytest.mark.parametrize("text", ["", " , ", "dog,dog", "d\0g", "x" * 300, ",".join("ab" * 40)])
def test_words_that_cannot_be_captions_are_refused(text: str) -> None:
    with pytest.raises(StarterError, match="caption"):
        parsed_captions(text)


def test_captions_of_a_configuration_may_be_a_list() -> None:
    given = json.loads('{"kind": "text", "captions": ["dog", "sports ball"]}')
    assert StarterConfig.read(given).captions == {"dog": "dog", "sports ball": "sports ball"}
