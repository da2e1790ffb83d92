"""Masks of single pictures from points, boxes and masks: SAM 2 as an image model.

A picture is encoded once, and then any number of prompts cost the mask decoder only.
``docs/pictures.md`` names the counterparts in Meta's predictor and in ``transformers``.

Dimensions: B pictures, N objects, K points of each, M masks of each (3 or 1), H W picture, h w
mask grid, S image size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from os import PathLike

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tracker.config import ModelConfig
from tracker.errors import EmbeddingError, PromptError
from tracker.host_arrays import on_device, sent
from tracker.images.prepared_image import PreparedImage
from tracker.images.transforms import (
    AnyImage,
    normalised,
    pixels_of,
    prepare_image,
    prepare_yuv,
)
from tracker.images.yuv import YuvPicture
from tracker.memory.object_memory import ModelIdentity
from tracker.model import DecoderOutput, ImageFeatures, Sam2
from tracker.model.precision import autocast, compute_in, resolved_dtype
from tracker.pictures.closer_look import Look, look_closer, look_mirrored, mean_of, mirrored_of
from tracker.pictures.delivery import PictureMasks, delivered
from tracker.pictures.embeddings import Embeddings
from tracker.pictures.options import PictureOptions
from tracker.pictures.prompts import PicturePrompt, PromptRows, check
from tracker.policy.decision import unambiguous
from tracker.step.admission import ensure_image
from tracker.step.window import SMALL_VIEW
from tracker.weights.checkpoint import (
    fetch_checkpoint,
    fingerprint,
    load_checkpoint,
    resolve_device,
)


class ImagePredictor:
    """SAM 2 on single pictures. Call it from one thread.

    The predictor freezes the model, moves it to the device and converts it to the dtype of the
    computation, as a tracker does; a tracker's own model, with the same ``compute_dtype``, is left
    unchanged.
    """

    def __init__(
        self, model: Sam2, device: torch.device, options: PictureOptions | None = None
    ) -> None:
        self.options = options or PictureOptions()
        self.device = device
        if self.options.image_size not in (None, model.config.image_size):
            model.resize(self.options.image_size)
        self._dtype = resolved_dtype(self.options.compute_dtype, device)
        self.identity = ModelIdentity(model.config.name, fingerprint(model))
        self._model = model.to(device).eval().requires_grad_(requires_grad=False)
        compute_in(model, self._dtype, device)
        model.fix_constants()
        self._embeddings: Embeddings | None = None
        # Of the pictures that were set, for closer looks; without them none is kept.
        self._pixels: tuple[npt.NDArray[np.uint8] | None, ...] = ()
        # Their mirror images, encoded for the first prompt. Bound: one for each picture.
        self._mirrored: dict[int, Embeddings] = {}

    @classmethod
    def from_checkpoint(
        cls,
        name_or_path: str | PathLike[str] = "nano",
        config: ModelConfig | None = None,
        device: str | torch.device = "auto",
        options: PictureOptions | None = None,
    ) -> ImagePredictor:
        """Load a model by name (``nano``, ``sam2.1_hiera_small``, …) or from a file.

        Raises CheckpointError as ``Tracker.from_checkpoint`` does.
        """
        return cls(load_checkpoint(name_or_path, config), resolve_device(device), options)

    @classmethod
    def from_pretrained(
        cls,
        name: str | PathLike[str],
        device: str | torch.device = "auto",
        options: PictureOptions | None = None,
    ) -> ImagePredictor:
        """Like ``from_checkpoint``, and fetch it once from the Hugging Face hub if it is not here.

        ``name`` as in ``Tracker.from_pretrained``. Raises CheckpointError.
        """
        return cls.from_checkpoint(fetch_checkpoint(name), device=device, options=options)

    @property
    def config(self) -> ModelConfig:
        """The network's configuration at the image size in use."""
        return self._model.config

    @property
    def looks_closer(self) -> bool:
        """Whether what is small in a picture is looked at closer (``PictureOptions``).

        Not in pictures given as embeddings, prepared or as planes, nor where a prompt has a mask.
        """
        if self.options.closer_look is None:
            return self.config.image_size < SMALL_VIEW
        return self.options.closer_look

    @property
    def embeddings(self) -> Embeddings:
        """The pictures that prompts refer to. Raises ValueError before there are any."""
        if self._embeddings is None:
            raise ValueError("no picture yet: call set_image, set_images or set_embeddings")
        return self._embeddings

    def set_image(self, image: AnyImage) -> None:
        """Encode one picture, RGB uint8 (H, W, 3) of any size, for the prompts that follow.

        Anything that NumPy takes as such an array will do, an RGB picture of Pillow among them.
        Raises ValueError for anything else; the earlier picture stays then.
        """
        self.set_images([image])

    def set_images(self, images: Sequence[AnyImage]) -> None:
        """Encode several pictures, each of any size, as one batch."""
        self._embeddings, self._mirrored = self.encode(images), {}
        self._pixels = tuple(map(self._kept, images)) if self.looks_closer else ()

    def set_embeddings(self, embeddings: Embeddings) -> None:
        """Use pictures that were encoded before.

        Raises EmbeddingError for those of other weights or of another image size.
        """
        if embeddings.model != self.identity:
            raise EmbeddingError(
                f"these embeddings were made by {embeddings.model.name} with other weights than "
                f"those of {self.identity.name} here; load that model, or encode the pictures again"
            )
        width, side = self.config.hidden_dim, self.config.grid_size
        shapes = [
            (width // narrower, finer * side, finer * side)
            for narrower, finer in ((1, 1), (4, 2), (8, 4))
        ]
        if not self.config.has_fine_maps:
            shapes[1:] = [(0, 1, 1)] * 2
        own = [tuple(level.shape[1:]) for level in embeddings.features]
        if own != shapes:
            raise EmbeddingError(
                f"embeddings are (channels, height, width) {shapes} at image size "
                f"{self.config.image_size}, got {own}; encode the pictures again at that size"
            )
        dtype = self._model.no_mem_embed.dtype
        maps = (sent(level, self.device).to(dtype) for level in embeddings.features)
        self._embeddings = Embeddings(self.identity, ImageFeatures(*maps), embeddings.sizes)
        self._pixels, self._mirrored = (), {}

    def reset(self) -> None:
        """Forget the pictures."""
        self._embeddings, self._pixels, self._mirrored = None, (), {}

    def predict(
        self,
        points_xy: npt.ArrayLike | None = None,
        point_labels: npt.ArrayLike | None = None,
        box_xyxy: npt.ArrayLike | None = None,
        mask: npt.ArrayLike | None = None,
        previous_logits: npt.ArrayLike | None = None,
        *,
        multimask: bool = True,
        logits: bool = False,
        image: int = 0,
    ) -> PictureMasks:
        """The masks of one object, or of N at once, as ``PicturePrompt`` describes them.

        ``multimask``: three alternatives, for a prompt that leaves open what is meant, such as one
        point; otherwise the one mask for a prompt that does not. ``logits``: return float32 logits
        at the picture's size instead of masks. Raises PromptError, or ValueError without a picture.
        """
        prompt = PicturePrompt(points_xy, point_labels, box_xyxy, mask, previous_logits, image)
        (masks,) = self.predict_batch([prompt], multimask=multimask, logits=logits)
        return masks

    @torch.inference_mode()
    def predict_batch(
        self, prompts: Sequence[PicturePrompt], *, multimask: bool = True, logits: bool = False
    ) -> list[PictureMasks]:
        """``predict`` for prompts on several pictures; results in order.

        Prompts with equally many points go through the decoder together.
        """
        rows = [self.check(prompt) for prompt in prompts]

        def alike(place: int) -> tuple[int, bool]:
            return rows[place].labels_NK.shape[1], rows[place].logits_N1hw is not None

        results: dict[int, PictureMasks] = {}
        for _, group in groupby(sorted(range(len(rows)), key=alike), key=alike):
            places = list(group)
            own = [rows[place] for place in places]
            counts = [len(each.labels_NK) for each in own]
            dense = [each.logits_N1hw for each in own if each.logits_N1hw is not None]
            image_N = np.repeat([prompts[place].image for place in places], counts)
            # Of a single picture no map is copied for each object.
            alone = (image_N == image_N[0]).all()
            output = self.decode(
                on_device(np.concatenate([each.points_NK2 for each in own]), self.device),
                on_device(np.concatenate([each.labels_NK for each in own]), self.device),
                sent(torch.cat(dense), self.device) if dense else None,
                None if alone else on_device(image_N, self.device),
                self.embeddings[image_N[0]] if alone else None,
            )
            logits_NMhw, iou_NM = self.chosen(output, multimask=multimask)
            parts = zip(logits_NMhw.split(counts), iou_NM.split(counts), strict=True)
            for place, plain in zip(places, parts, strict=True):
                prompt, row = prompts[place], rows[place]
                logits_nMhw, iou_nM = self._with_mirrored(prompt, row, plain, multimask=multimask)
                looks = self._looks(prompt, row, logits_nMhw, iou_nM, multimask=multimask)
                masks = delivered(
                    logits_nMhw,
                    iou_nM,
                    looks,
                    self._size_of(prompt),
                    self.options,
                    as_logits=logits,
                )
                results[place] = masks if row.several else masks.alone()
        return [results[place] for place in range(len(rows))]

    @torch.inference_mode()
    def prepare(self, image: AnyImage) -> PreparedImage:
        """Resize a picture for the network; ``encode`` accepts the result. For any thread.

        Antialiased bilinear, as the reference's image predictor; the tracker's frames are bicubic.
        """
        if isinstance(image, PreparedImage):
            return image
        if isinstance(image, YuvPicture):
            return prepare_yuv(image, self.config.image_size, self.device)
        pixels = np.asarray(image)
        ensure_image(pixels)
        return prepare_image(pixels, self.config.image_size, self.device, mode="bilinear")

    @torch.inference_mode()
    def encode(self, images: Sequence[AnyImage]) -> Embeddings:
        """Encode pictures as one batch, without making them the predictor's."""
        if not images:
            raise ValueError("give at least one picture")
        prepared = [self.prepare(image) for image in images]
        pixels_B3SS = torch.cat(
            [pixels_of(image, self.config.image_size, self.device) for image in prepared]
        )
        with autocast(self._dtype, self.device):
            features = self._model.encode_image(
                normalised(pixels_B3SS, self._model.image_encoder.dtype)
            )
            conditioned = self._model.attend(features.stride16_BCHW, None)
        return Embeddings(
            self.identity,
            features._replace(stride16_BCHW=conditioned),
            tuple((image.height, image.width) for image in prepared),
        )

    @torch.inference_mode()
    def decode(
        self,
        points_NK2: Tensor,
        labels_NK: Tensor,
        mask_logits_N1hw: Tensor | None = None,
        image_N: Tensor | None = None,
        embeddings: Embeddings | None = None,
    ) -> DecoderOutput:
        """The decoder's four masks of N objects at low resolution, on the device, unchecked.

        ``points_NK2`` in model pixels (0..S), ``labels_NK`` as ``Sam2.encode_prompts`` has them,
        both on the device. ``image_N``: the picture of each object (default: the first) among
        ``embeddings`` (default: those that were set).
        """
        features = (embeddings or self.embeddings).features
        if image_N is None:
            image_N = torch.zeros(len(points_NK2), dtype=torch.int64, device=self.device)
        own = features.select(image_N)
        with autocast(self._dtype, self.device):
            prompt = self._model.encode_prompts(points_NK2, labels_NK, mask_logits_N1hw)
            return self._model.decode(own.stride16_BCHW, own, prompt)

    @torch.inference_mode()
    def search(
        self,
        points_NK2: Tensor,
        labels_NK: Tensor,
        embeddings: Embeddings,
        wanted: Callable[[Tensor], Tensor],
    ) -> tuple[Tensor, DecoderOutput]:
        """``decode`` for many points on one picture, drawing only ``wanted`` masks.

        ``wanted`` gets the predicted IoU (n, 4) of some objects and marks those to draw. Returns
        their indices and their output. Faster: what they share is computed once.
        """
        with autocast(self._dtype, self.device):
            prompt = self._model.encode_prompts(points_NK2, labels_NK)
            return self._model.search(embeddings.features, prompt, wanted)

    def chosen(self, output: DecoderOutput, *, multimask: bool) -> tuple[Tensor, Tensor]:
        """The M masks of each object: float32 logits (N, M, h, w) and predicted IoU (N, M).

        Masks 1..3 with ``multimask``; otherwise mask 0, or the best of the others if it is
        unstable.
        """
        iou_N4 = output.predicted_iou_N4.float()
        if multimask:
            return output.mask_logits_N4hw[:, 1:].float(), iou_N4[:, 1:]
        chosen_N = unambiguous(output, 1 + iou_N4[:, 1:].argmax(dim=1))
        row_N = torch.arange(len(chosen_N), device=chosen_N.device)
        logits_Nhw = output.mask_logits_N4hw[row_N, chosen_N]
        return logits_Nhw.float().unsqueeze(1), iou_N4[row_N, chosen_N].unsqueeze(1)

    def check(self, prompt: PicturePrompt) -> PromptRows:
        """The prompt for the network. Raises PromptError, or ValueError without a picture."""
        return check(prompt, *self._size_of(prompt), self.config.image_size)

    def _size_of(self, prompt: PicturePrompt) -> tuple[int, int]:
        sizes = self.embeddings.sizes
        if not 0 <= prompt.image < len(sizes):
            raise PromptError(f"there is no picture {prompt.image}: {len(sizes)} were set, from 0")
        return sizes[prompt.image]

    @staticmethod
    def _kept(image: AnyImage) -> npt.NDArray[np.uint8] | None:
        """A copy: the caller may fill the array anew before the first prompt."""
        return None if isinstance(image, PreparedImage | YuvPicture) else np.array(image)

    def _looks(
        self,
        prompt: PicturePrompt,
        rows: PromptRows,
        logits_NMhw: Tensor,
        iou_NM: Tensor,
        *,
        multimask: bool,
    ) -> dict[int, Look]:
        pixels = self._looked_at(prompt, rows)
        if pixels is None:
            return {}
        return look_closer(self, pixels, rows, logits_NMhw, iou_NM, multimask=multimask)

    def _with_mirrored(
        self,
        prompt: PicturePrompt,
        rows: PromptRows,
        plain: tuple[Tensor, Tensor],
        *,
        multimask: bool,
    ) -> tuple[Tensor, Tensor]:
        """Masks and predicted IoU of a first look, with those of the picture's mirror image."""
        pixels = self._looked_at(prompt, rows)
        if pixels is None:
            return plain
        if (mirrored := self._mirrored.get(prompt.image)) is None:
            mirrored = self._mirrored[prompt.image] = self.encode([mirrored_of(pixels)])
        return mean_of([plain, look_mirrored(self, mirrored, rows, multimask=multimask)])

    def _looked_at(self, prompt: PicturePrompt, rows: PromptRows) -> npt.NDArray[np.uint8] | None:
        """The pixels of the picture, if it is looked at again for this prompt."""
        return self._pixels[prompt.image] if self._pixels and rows.logits_N1hw is None else None
