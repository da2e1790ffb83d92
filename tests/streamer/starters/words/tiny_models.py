"""The real networks at a tiny size with random weights, saved as a hub's repository is laid out.

Tokenizers are built here: each word of ``WORDS`` is a token.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers as library

WORDS = ("a", "man", "in", "red", "person", "sports", "ball", "dog", "locate", "the", "image")
CLASSES = ("person", "ball", "car")
SIDE = 64
_DETR = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 2, "num_queries": 12}


def save_tiny(kind: str, folder: Path) -> Path:
    """A folder with a model of this ``model_type``, its processor and tokenizer."""
    torch.manual_seed(1)
    model, processor = _MAKERS[kind]()
    model.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _bert() -> Any:
    """Its special tokens have the numbers that Grounding DINO's code fixes."""
    vocabulary = {f"[unused{i}]": i for i in range(1040)}
    named = {
        "[PAD]": 0,
        "[UNK]": 100,
        "[CLS]": 101,
        "[SEP]": 102,
        "[MASK]": 103,
        ".": 1012,
        "?": 1029,
    }
    named |= {word: 1000 - index for index, word in enumerate(WORDS)}
    taken = set(named.values())
    vocabulary = {name: i for name, i in vocabulary.items() if i not in taken} | named
    return library.BertTokenizer(vocab=vocabulary, model_max_length=64)


def _clip(length: int) -> Any:
    """Letters without merges. No special token has the number 0, which OWLv2 takes for padding."""
    letters = sorted({letter for word in WORDS for letter in word} | set("detect,."))
    tokens = [
        "!",
        "<|startoftext|>",
        "<|endoftext|>",
        *letters,
        *(f"{each}</w>" for each in letters),
    ]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    return library.CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=length)


def _grounding_dino() -> tuple[Any, Any]:
    config = library.GroundingDinoConfig(
        backbone_config=_swin(("stage2", "stage3", "stage4")),
        text_config=library.BertConfig(
            vocab_size=1040, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=32, max_position_embeddings=64,
        ),
        d_model=32, encoder_layers=1, encoder_ffn_dim=32, encoder_attention_heads=2,
        decoder_layers=2, decoder_ffn_dim=32, decoder_attention_heads=2, num_queries=12,
        max_text_len=64,
    )  # fmt: skip
    pictures = library.GroundingDinoImageProcessor(size={"shortest_edge": SIDE, "longest_edge": 96})
    return (
        library.GroundingDinoForObjectDetection(config),
        library.GroundingDinoProcessor(pictures, _bert()),
    )


def _swin(stages: tuple[str, ...]) -> Any:
    return library.SwinConfig(
        image_size=SIDE, patch_size=4, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2],
        window_size=4, out_features=list(stages),
    )  # fmt: skip


def _owlv2() -> tuple[Any, Any]:
    tokenizer = _clip(32)
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1,
             "num_attention_heads": 2}  # fmt: skip
    config = library.Owlv2Config(
        text_config=sizes | {"vocab_size": len(tokenizer), "max_position_embeddings": 32,
                             "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2},
        vision_config=sizes | {"image_size": SIDE, "patch_size": 16},
        projection_dim=32,
    )  # fmt: skip
    pictures = library.Owlv2ImageProcessor(size={"height": SIDE, "width": SIDE})
    return (
        library.Owlv2ForObjectDetection(config),
        library.Owlv2Processor(pictures, tokenizer),
    )


def _register_timm_swin() -> str:
    """timm's Swin at a tiny size under a name of its own: OmDet-Turbo has its trunk from timm."""
    from timm.models import is_model, register_model
    from timm.models._builder import build_model_with_cfg
    from timm.models.swin_transformer import SwinTransformer

    name = "swin_of_masklets_tests"
    if not is_model(name):

        def make(pretrained: bool = False, **options: Any) -> Any:
            shape = {"embed_dim": 8, "depths": (1, 1, 1, 1), "num_heads": (1, 2, 2, 4)}
            stages = {"flatten_sequential": True, "out_indices": options.pop("out_indices")}
            return build_model_with_cfg(
                SwinTransformer, name, pretrained, feature_cfg=stages, window_size=4,
                **shape, **options,
            )  # fmt: skip

        make.__name__ = name
        make.__module__ = "timm.models.swin_transformer"
        register_model(make)
    return name


def _omdet_turbo() -> tuple[Any, Any]:
    tokenizer = _clip(77)
    config = library.OmDetTurboConfig(
        backbone=_register_timm_swin(),
        text_config=library.CLIPTextConfig(
            vocab_size=len(tokenizer), hidden_size=48, intermediate_size=32, num_hidden_layers=1,
            num_attention_heads=2, max_position_embeddings=77, projection_dim=48,
            bos_token_id=1, eos_token_id=2, pad_token_id=0,
        ),
        image_size=SIDE, num_queries=12, encoder_hidden_dim=32, decoder_hidden_dim=32,
        class_embed_dim=48, text_projection_in_dim=48, text_projection_out_dim=48,
        task_encoder_hidden_dim=32, encoder_dim_feedforward=32, decoder_dim_feedforward=32,
        encoder_in_channels=[16, 32, 64], vision_features_channels=[32, 32, 32], num_heads=2,
        decoder_num_heads=2, encoder_attention_heads=2, decoder_num_layers=2,
        backbone_feat_channels=[16, 32, 64], num_projection_layers=1,
    )  # fmt: skip
    pictures = library.DetrImageProcessor(size={"height": SIDE, "width": SIDE})
    return (
        library.OmDetTurboForObjectDetection(config),
        library.OmDetTurboProcessor(pictures, tokenizer),
    )


def _florence2() -> tuple[Any, Any]:
    letters = sorted({letter for word in WORDS for letter in word.capitalize() + word} | {".", "Ġ"})
    tokens = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *letters]
    tokenizer = library.BartTokenizer(
        vocab={token: index for index, token in enumerate(tokens)}, merges=[],
        extra_special_tokens={"image_token": "<image>"},
    )  # fmt: skip
    tokenizer.add_tokens([f"<loc_{i}>" for i in range(1000)])
    text = library.BartConfig(
        vocab_size=len(tokenizer), d_model=32, encoder_layers=1, decoder_layers=1,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=32,
        decoder_ffn_dim=32, max_position_embeddings=600,
    )  # fmt: skip
    vision = {
        "model_type": "florence_vision", "embed_dim": [8, 16, 32, 32], "num_heads": [1, 2, 2, 2],
        "num_groups": [1, 2, 2, 2], "depths": [1, 1, 1, 1], "window_size": 4, "projection_dim": 32,
    }  # fmt: skip
    config = library.Florence2Config(
        text_config=text, vision_config=vision,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
    )  # fmt: skip
    pictures = library.CLIPImageProcessor(
        size={"height": SIDE, "width": SIDE}, crop_size={"height": SIDE, "width": SIDE}
    )
    pictures.image_seq_length = 5
    return (
        library.Florence2ForConditionalGeneration(config),
        library.Florence2Processor(
            pictures,
            tokenizer,
            num_additional_image_tokens=0,
            post_processor_config={"description_with_bboxes_or_polygons": {}},
        ),
    )


def _detr_processor() -> Any:
    return library.RTDetrImageProcessor(size={"height": SIDE, "width": SIDE})


def _names() -> dict[str, Any]:
    return {
        "id2label": dict(enumerate(CLASSES)),
        "label2id": {name: index for index, name in enumerate(CLASSES)},
    }


def _d_fine() -> tuple[Any, Any]:
    config = library.DFineConfig(
        backbone_config=library.HGNetV2Config(
            embedding_size=8, hidden_sizes=[16, 16, 32, 32], depths=[1, 1, 1, 1],
            stem_channels=[3, 8, 8], stage_in_channels=[8, 16, 16, 32],
            stage_mid_channels=[8, 8, 8, 8], stage_out_channels=[16, 16, 32, 32],
            stage_num_blocks=[1, 1, 1, 1], stage_numb_of_layers=[1, 1, 1, 1],
            out_features=["stage2", "stage3", "stage4"],
        ),
        **_NECK, encoder_in_channels=[16, 32, 32], **_names(),
    )  # fmt: skip
    return library.DFineForObjectDetection(config), _detr_processor()


def _rt_detr() -> tuple[Any, Any]:
    config = library.RTDetrConfig(
        backbone_config=library.RTDetrResNetConfig(
            embedding_size=8, hidden_sizes=[8, 16, 16, 16], depths=[1, 1, 1, 1],
            layer_type="basic", out_features=["stage2", "stage3", "stage4"],
        ),
        **_NECK, encoder_in_channels=[16, 16, 16], **_names(),
    )  # fmt: skip
    return library.RTDetrForObjectDetection(config), _detr_processor()


_NECK: dict[str, Any] = {
    "encoder_hidden_dim": 32, "encoder_layers": 1, "encoder_ffn_dim": 32,
    "encoder_attention_heads": 2, "d_model": 32, "num_queries": 12, "decoder_layers": 2,
    "decoder_ffn_dim": 32, "decoder_attention_heads": 2, "decoder_in_channels": [32, 32, 32],
    "anchor_image_size": None,
}  # fmt: skip
_MAKERS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "grounding-dino": _grounding_dino,
    "owlv2": _owlv2,
    "omdet-turbo": _omdet_turbo,
    "florence2": _florence2,
    "d_fine": _d_fine,
    "rt_detr": _rt_detr,
}
