"""What is looked for, in words: a caption for each class name. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping

from streamer.errors import StarterError

DEFAULT_MODEL = "IDEA-Research/grounding-dino-tiny"
# Of one detector; the networks read all captions at once, or one after the other.
MOST_CAPTIONS = 64
LONGEST_CAPTION = 256


def parsed_captions(text: str) -> dict[str, str]:
    """``"sports ball,person"`` or ``"a man in red=player"`` -> class names by caption.

    Raises ``StarterError`` for what cannot be captions.
    """
    captions: dict[str, str] = {}
    for part in text.split(","):
        caption, _, name = (each.strip() for each in part.partition("="))
        if caption in captions:
            raise StarterError(f"the caption {caption!r} is given twice")
        captions[caption] = name or caption
    ensure_captions(captions)
    return captions


def ensure_captions(captions: Mapping[str, str]) -> None:
    """Raise ``StarterError`` for a caption that no network can read, or for too many."""
    if len(captions) > MOST_CAPTIONS:
        raise StarterError(f"{len(captions)} captions are too many, at most {MOST_CAPTIONS}")
    for caption in captions:
        if not caption.strip() or not caption.isprintable() or len(caption) > LONGEST_CAPTION:
            raise StarterError(
                f"a caption must be 1 to {LONGEST_CAPTION} printable characters, such as 'a man in "
                f"red', got {caption!r}"
            )
