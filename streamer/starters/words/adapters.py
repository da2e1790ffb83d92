"""One small adapter for each family of networks: a picture and captions -> boxes with names.

Each gives the picture to the family's own processor, runs the network and lets the library's own
post-processing make boxes of it; what is left here is which caption a box belongs to.

Dimensions: Q queries of a network, N boxes, C captions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from streamer.errors import StarterError

# What a network may write of one caption: 4 tokens a box and the name before them.
_MOST_TOKENS = 512
_SURE = 1.0  # Florence-2 names boxes and gives no scores
_FLORENCE_TASK = "<OPEN_VOCABULARY_DETECTION>"

Found = tuple[Sequence[float], float, str]  # box x0, y0, x1, y1 in pixels, score, caption or class


@dataclass(slots=True, eq=False)
class Network:
    """A network and its processor, of `transformers`."""

    model: Any
    processor: Any

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        device: torch.device = self.model.device
        return device

    def inputs(self, **arguments: Any) -> Any:
        """What the processor makes of its arguments, on the device."""
        return self.processor(**arguments, return_tensors="pt").to(self.device)


Adapter = Callable[[Network, Image.Image, Sequence[str], float], Iterable[Found]]


def grounding_dino(
    network: Network, image: Image.Image, captions: Sequence[str], minimum_score: float
) -> Iterable[Found]:
    """Grounding DINO (arXiv 2303.05499) reads ``dog. a man in red.``; a box scores each token.

    A box belongs to the caption with the surest token.
    """
    phrases = [" ".join(each.lower().replace(".", " ").split()) for each in captions]
    text = "".join(f"{phrase}. " for phrase in phrases).rstrip()
    spans = network.processor.tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
    longest = network.model.config.max_text_len
    if len(spans) > longest:
        raise StarterError(
            f"the captions are {len(spans)} tokens long together, at most {longest}; leave out some"
        )
    inputs = network.inputs(images=image, text=text)
    outputs = network.model(**inputs)
    (found,) = network.processor.post_process_grounded_object_detection(
        outputs, inputs["input_ids"], minimum_score, target_sizes=[image.size[::-1]]
    )
    tokens_QT = outputs.logits[0].sigmoid()
    kept_NT = tokens_QT[tokens_QT.max(-1).values > minimum_score]
    begin, scores_N = 0, []
    for caption, phrase in zip(captions, phrases, strict=True):
        end = begin + len(phrase)
        own = [i for i, (first, last) in enumerate(spans) if begin <= first < last <= end]
        if not own:
            raise StarterError(f"the caption {caption!r} holds no word that the network knows")
        scores_N.append(kept_NT[:, own].max(-1).values)
        begin = end + len(". ")
    best_N = torch.stack(scores_N).argmax(0).tolist()
    return zip(
        found["boxes"].tolist(),
        found["scores"].tolist(),
        (captions[each] for each in best_N),
        strict=True,
    )


def owl(
    network: Network, image: Image.Image, captions: Sequence[str], minimum_score: float
) -> Iterable[Found]:
    """OWL-ViT and OWLv2 (arXiv 2306.09683): each caption is a query of its own."""
    inputs = network.inputs(images=image, text=[list(captions)])
    longest = network.model.config.text_config.max_position_embeddings
    if inputs["input_ids"].shape[-1] > longest:
        raise StarterError(f"a caption is longer than {longest} tokens: say it in fewer words")
    (found,) = network.processor.post_process_grounded_object_detection(
        network.model(**inputs), minimum_score, [image.size[::-1]], [list(captions)]
    )
    return _named(found, found["text_labels"])


def omdet_turbo(
    network: Network, image: Image.Image, captions: Sequence[str], minimum_score: float
) -> Iterable[Found]:
    """OmDet-Turbo (arXiv 2403.06892): captions as classes, doubles suppressed by overlap."""
    inputs = network.inputs(images=image, text=[list(captions)])
    (found,) = network.processor.post_process_grounded_object_detection(
        network.model(**inputs),
        [list(captions)],
        threshold=minimum_score,
        target_sizes=[image.size[::-1]],
    )
    return _named(found, found["text_labels"])


def florence2(
    network: Network, image: Image.Image, captions: Sequence[str], _minimum_score: float
) -> Iterable[Found]:
    """Florence-2 (arXiv 2311.06242) writes its boxes as text: all captions as one batch.

    Its boxes have no scores, so that all of them count as sure.
    """
    asked = [_FLORENCE_TASK + each.replace("<", " ").replace(">", " ") for each in captions]
    inputs = network.inputs(images=[image] * len(asked), text=asked, padding=True)
    written = network.model.generate(
        **inputs, max_new_tokens=_MOST_TOKENS, num_beams=1, do_sample=False
    )
    texts = network.processor.batch_decode(written, skip_special_tokens=False)
    for caption, text in zip(captions, texts, strict=True):
        answer = network.processor.post_process_generation(
            text=text, task=_FLORENCE_TASK, image_size=image.size
        )[_FLORENCE_TASK]
        for box in answer["bboxes"]:
            yield box, _SURE, caption


def closed_vocabulary(
    network: Network, image: Image.Image, captions: Sequence[str], minimum_score: float
) -> Iterable[Found]:
    """D-FINE (arXiv 2410.13842) and RT-DETR (2304.08069): the classes of their training.

    ``captions`` are class names, and those that are found; none: all.
    """
    outputs = network.model(**network.inputs(images=image))
    (found,) = network.processor.post_process_object_detection(
        outputs, threshold=minimum_score, target_sizes=[image.size[::-1]]
    )
    names = network.model.config.id2label
    labels = [names[number] for number in found["labels"].tolist()]
    return (each for each in _named(found, labels) if not captions or each[2] in captions)


def _named(found: Any, names: Sequence[str]) -> Iterable[Found]:
    return zip(found["boxes"].tolist(), found["scores"].tolist(), names, strict=True)
