"""Every family finds what the library's own post-processing finds, under the right names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import transformers as library
from PIL import Image

from streamer.starters.words.adapters import Network
from streamer.starters.words.load import LoadedDetector, load_detector
from streamer.starters.words.text_detector import TextDetector
from streamer.types import Detection
from tests.streamer.starters.words.tiny_models import CLASSES, save_tiny

IMAGE = np.random.default_rng(0).integers(0, 255, (48, 80, 3), dtype=np.uint8)
SIZES = [(48, 80)]  # height, width
CAPTIONS = {"a man in red": "player", "dog": "dog"}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], LoadedDetector]:
    """The detector of a family, loaded from the folder that ``save_pretrained`` wrote."""
    known: dict[str, LoadedDetector] = {}

    def load(kind: str) -> LoadedDetector:
        if kind not in known:
            folder = save_tiny(kind, tmp_path_factory.mktemp(kind))
            known[kind] = load_detector(str(folder), fetch=False)
        return known[kind]

    return load


def found(loaded: LoadedDetector, captions: dict[str, str], score: float = 0.2) -> list[Detection]:
    return list(TextDetector(loaded, captions, minimum_score=score)(IMAGE))


def outputs(network: Network, **arguments: Any) -> tuple[Any, Any]:
    """What the network says without our adapter."""
    inputs = network.processor(images=Image.fromarray(IMAGE), return_tensors="pt", **arguments)
    with torch.inference_mode():
        return inputs, network.model(**inputs)


def assert_agree(ours: list[Detection], theirs: Any, labels: list[str]) -> None:
    assert len(ours) == len(theirs["boxes"]) > 0
    boxes = torch.tensor([each.box_xyxy for each in ours])
    torch.testing.assert_close(boxes, theirs["boxes"], rtol=1e-5, atol=1e-3)
    scores = torch.tensor([each.score for each in ours])
    torch.testing.assert_close(scores, theirs["scores"], rtol=1e-5, atol=1e-5)
    assert [each.label for each in ours] == labels


def test_grounding_dino(loaded: Callable[[str], LoadedDetector]) -> None:
    detector = loaded("grounding-dino")
    network = detector.network
    inputs, said = outputs(network, text="a man in red. dog.")
    (theirs,) = network.processor.post_process_grounded_object_detection(
        said, inputs["input_ids"], 0.9, target_sizes=SIZES
    )
    # [CLS] a man in red . dog . [SEP]
    kept = said.logits[0].sigmoid()
    kept = kept[kept.max(-1).values > 0.9]
    of_man, of_dog = kept[:, 1:5].max(-1).values, kept[:, 6]
    labels = ["player" if man >= dog else "dog" for man, dog in zip(of_man, of_dog, strict=True)]
    assert_agree(found(detector, CAPTIONS, 0.9), theirs, labels)
    assert set(labels) == {"player", "dog"}


def test_grounding_dino_reads_captions_as_one_phrase_each(
    loaded: Callable[[str], LoadedDetector],
) -> None:
    detector = loaded("grounding-dino")
    plain = found(detector, {"a man": "x", "dog": "y"}, 0.5)
    other = found(detector, {"A  Man.": "x", "DOG": "y"}, 0.5)
    assert [(each.box_xyxy, each.label) for each in other] == [
        (each.box_xyxy, each.label) for each in plain
    ]
    with pytest.raises(Exception, match="holds no word that the network knows"):
        found(detector, {"dog": "y", "...": "x"})
    with pytest.raises(Exception, match=r"tokens long together, at most 64"):
        found(detector, {" ".join(["dog"] * length): "y" for length in range(20, 24)})


def test_owlv2(loaded: Callable[[str], LoadedDetector]) -> None:
    detector = loaded("owlv2")
    _, said = outputs(detector.network, text=[list(CAPTIONS)])
    (theirs,) = detector.network.processor.post_process_grounded_object_detection(said, 0.2, SIZES)
    labels = [list(CAPTIONS.values())[index] for index in theirs["labels"]]
    assert_agree(found(detector, CAPTIONS), theirs, labels)
    with pytest.raises(Exception, match="a caption is longer than 32 tokens"):
        found(detector, {"dog" * 40: "dog"})


def test_omdet_turbo(loaded: Callable[[str], LoadedDetector]) -> None:
    detector = loaded("omdet-turbo")
    _, said = outputs(detector.network, text=[list(CAPTIONS)])
    (theirs,) = detector.network.processor.post_process_grounded_object_detection(
        said, [list(CAPTIONS)], threshold=0.2, target_sizes=SIZES
    )
    labels = [CAPTIONS[name] for name in theirs["text_labels"]]
    assert_agree(found(detector, CAPTIONS), theirs, labels)


def test_florence2(
    loaded: Callable[[str], LoadedDetector], monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = loaded("florence2")
    assert found(detector, CAPTIONS) == []  # random weights write no box
    asked: list[Any] = []
    texts = ["red<loc_0><loc_0><loc_499><loc_999>", "dog<loc_90><loc_90><loc_190><loc_190>" * 2]
    processor = detector.network.processor

    def write(**inputs: Any) -> torch.Tensor:
        asked.append(inputs)
        return processor.tokenizer(texts, padding=True, return_tensors="pt")["input_ids"]

    monkeypatch.setattr(detector.network.model, "generate", write)
    task = "<OPEN_VOCABULARY_DETECTION>"
    theirs = [
        (tuple(box), label)
        for text, label in zip(texts, CAPTIONS.values(), strict=True)
        for box in processor.post_process_generation(text, task=task, image_size=(80, 48))[task][
            "bboxes"
        ]
    ]
    ours = found(detector, CAPTIONS)
    assert [(each.box_xyxy, each.label) for each in ours] == theirs
    assert [label for _, label in theirs] == ["player", "dog", "dog"]
    assert {each.score for each in ours} == {1.0}
    assert asked[0]["pixel_values"].shape[0] == asked[0]["input_ids"].shape[0] == len(CAPTIONS)


@pytest.mark.parametrize("kind", ["d_fine", "rt_detr"])
def test_closed_vocabularies(kind: str, loaded: Callable[[str], LoadedDetector]) -> None:
    detector = loaded(kind)
    _, said = outputs(detector.network)
    (theirs,) = detector.network.processor.post_process_object_detection(
        said, threshold=0.2, target_sizes=SIZES
    )
    labels = [CLASSES[index] for index in theirs["labels"]]
    everything = found(detector, {})
    assert_agree(everything, theirs, labels)
    name = labels[0]
    chosen = found(detector, {name: "mine"})
    assert [each.box_xyxy for each in chosen] == [
        each.box_xyxy for each in everything if each.label == name
    ]
    assert {each.label for each in chosen} == {"mine"}


def test_threads_of_a_pass_are_restored(loaded: Callable[[str], LoadedDetector]) -> None:
    TextDetector(loaded("d_fine"), {}, threads=2)(IMAGE)
    assert torch.get_num_threads() == 1


def test_picture_that_may_not_be_written_is_fine(
    loaded: Callable[[str], LoadedDetector],
) -> None:
    image = IMAGE.copy()
    image.flags.writeable = False
    TextDetector(loaded("d_fine"), {})(image)


def test_every_family_of_the_library_that_can_be_asked_is_known() -> None:
    from streamer.starters.words.load import FAMILIES

    zero_shot = library.models.auto.modeling_auto.MODEL_FOR_ZERO_SHOT_OBJECT_DETECTION_MAPPING_NAMES
    assert set(zero_shot) <= set(FAMILIES)
    for family in FAMILIES.values():
        assert hasattr(library, family.model_class)
        assert hasattr(library, family.processor_class)
