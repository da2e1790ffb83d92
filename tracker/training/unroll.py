"""Run a clip through the network as the tracker does: a prompt, then frame by frame with memory.

All frames are encoded at once; then every frame attends to the memories of earlier frames, is
decoded, and is remembered. Memories are kept as in the tracker: the prompted frame always, the last
six frames, the pointers of the last fifteen.

Dimensions: B clips, T frames, N objects of all clips, C hidden, c memory width, L grid tokens,
S image side, h w mask grid.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from tracker.config import IMAGE_MEAN, IMAGE_STD
from tracker.model.mask_decoder import DecoderOutput
from tracker.model.prompt_encoder import PADDING
from tracker.model.sam2 import ImageFeatures, Sam2
from tracker.training.clip import ClipBatch
from tracker.training.clip_memory import ClipMemory, frame_times
from tracker.training.losses import FrameLoss, frame_loss, shrink
from tracker.training.prompts import boxes, clicks, corrections
from tracker.training.recipe import LossWeights

_LOGIT_LIMIT = 32.0


@dataclass(frozen=True, slots=True)
class Sampling:
    """Choices of one step, see ``Phase``."""

    box_share: float
    point_share: float
    teacher_forcing: float
    correction: bool
    memory_drop: float
    visible_memory_only: bool = False


@dataclass(slots=True)
class ClipResult:
    """``first``: the prompted frame's loss (None if all prompts were masks).

    ``features_bCHW`` (b = B * T) and ``answers`` of the tracked frames are compared with a teacher.
    """

    first: FrameLoss | None
    features_bCHW: Tensor
    tracked: list[FrameLoss] = field(default_factory=list)
    corrected: list[FrameLoss] = field(default_factory=list)
    answers: list[DecoderOutput] = field(default_factory=list)

    def total(self) -> Tensor:
        """The loss to minimise: the mean over decoded frames; 0 without any."""
        losses = [*self.tracked, *self.corrected]
        if self.first is not None:
            losses.append(self.first)
        if not losses:
            return self.features_bCHW.sum() * 0.0
        return torch.stack([loss.total for loss in losses]).mean()


def normalise(images_b3SS: Tensor) -> Tensor:
    """Images in 0..1 to the network's scale (ImageNet mean and deviation)."""
    mean = images_b3SS.new_tensor(IMAGE_MEAN).view(1, 3, 1, 1)
    return (images_b3SS - mean) / images_b3SS.new_tensor(IMAGE_STD).view(1, 3, 1, 1)


class Unroll:
    """Runs clips through a model and collects the losses."""

    def __init__(self, model: Sam2, weights: LossWeights) -> None:
        self.model = model
        self.weights = weights

    def run(
        self,
        batch: ClipBatch,
        sampling: Sampling,
        generator: torch.Generator,
        rows_kept: Tensor | None = None,
    ) -> ClipResult:
        """The losses of one batch. Randomness comes from the generator only.

        ``rows_kept``: indexes of the objects to track; None: those that count.
        """
        model = self.model
        clips, frames = batch.clips, batch.frames
        encoded = model.encode_image(normalise(batch.images_BT3SS.flatten(0, 1)))
        rows_kept = batch.counted_rows() if rows_kept is None else rows_kept
        image_of_object = batch.image_of_object()[rows_kept]
        counted = batch.counted()[rows_kept]
        masks_TNSS = [batch.masks_of_frame(frame)[rows_kept] for frame in range(frames)]
        device = counted.device

        def frame_features(frame: int) -> ImageFeatures:
            rows = torch.arange(clips, device=device) * frames + frame
            return encoded.select(rows[image_of_object])

        first = frame_features(0)
        output, single, given_N, loss = self._prompted(
            first, masks_TNSS[0], sampling, counted, generator
        )
        result = ClipResult(loss, encoded.stride16_BCHW)
        if sampling.correction and loss is not None:
            again = self._corrected(first, None, output, single, masks_TNSS[0], counted, generator)
            result.corrected.append(again)
        memory = ClipMemory(frame_times(frames, generator))
        if frames > 1:
            shown = self._shown(output, single, given_N, masks_TNSS[0])
            self._remember(memory, first, output, single, shown, True)
        corrected_frame = _integer(generator, 1, frames) if frames > 1 else 0
        for frame in range(1, frames):
            features = frame_features(frame)
            masks = masks_TNSS[frame]
            kept = [
                f
                for f in range(1, frame)
                if f == frame - 1 or _number(generator) >= sampling.memory_drop
            ]
            chosen = memory.tokens_in_sight if sampling.visible_memory_only else memory.tokens
            conditioned = model.attend(features.stride16_BCHW, chosen(model, kept))
            output = model.decode(conditioned, features, model.no_prompt(len(masks), device))
            single = torch.zeros(len(masks), dtype=torch.bool, device=device)
            result.answers.append(output)
            result.tracked.append(frame_loss(output, masks, counted, single, self.weights))
            if sampling.correction and frame == corrected_frame:
                again = self._corrected(
                    features, conditioned, output, single, masks, counted, generator
                )
                result.corrected.append(again)
            if frame + 1 < frames:
                forced = _number(generator) < sampling.teacher_forcing
                self._remember(memory, features, output, single, masks, forced)
        return result

    def _prompted(
        self,
        features: ImageFeatures,
        masks: Tensor,
        sampling: Sampling,
        counted: Tensor,
        generator: torch.Generator,
    ) -> tuple[DecoderOutput, Tensor, Tensor, FrameLoss | None]:
        """Decode the first frame, each object with its own kind of prompt.

        Returns the output, which objects had an unambiguous prompt, which a mask, and the loss of
        those without a mask prompt.
        """
        model = self.model
        draw = torch.rand(len(masks), generator=generator, device=generator.device)
        is_box = draw < sampling.box_share
        is_point = ~is_box & (draw < sampling.box_share + sampling.point_share)
        is_mask = ~is_box & ~is_point
        order: list[Tensor] = []
        outputs: list[DecoderOutput] = []
        for kind in (is_box, is_point, is_mask):
            rows = kind.nonzero().squeeze(1)
            if not len(rows):
                continue
            chosen = features.select(rows)
            if kind is is_mask:
                padding = torch.full((len(rows), 1), PADDING, device=rows.device)
                points = torch.zeros(len(rows), 1, 2, device=rows.device)
                # As in Meta's code, the downsampler gets the mask as 0 and 1, not as logits.
                shown = model.mask_downsample(masks[rows].float().unsqueeze(1))
                prompt = model.encode_prompts(points, padding, shown)
                # As in the tracker, a mask prompt is decoded from the raw features.
                conditioned = chosen.stride16_BCHW
            else:
                sample = boxes if kind is is_box else clicks
                prompt = model.encode_prompts(*sample(masks[rows], generator))
                conditioned = model.attend(chosen.stride16_BCHW, None)
            order.append(rows)
            outputs.append(model.decode(conditioned, chosen, prompt))
        back = torch.cat(order).argsort()
        joined = DecoderOutput(*(torch.cat(parts)[back] for parts in zip(*outputs, strict=True)))
        single = ~is_point
        if bool(is_mask.all()):
            return joined, single, is_mask, None
        loss = frame_loss(joined, masks, counted & ~is_mask, single, self.weights)
        return joined, single, is_mask, loss

    @staticmethod
    @torch.no_grad()
    def _shown(output: DecoderOutput, single: Tensor, given_N: Tensor, masks_NSS: Tensor) -> Tensor:
        """The binary mask of the prompted frame that is remembered, (N, S, S) bool.

        The decoded mask for a click or box; a given mask as resampled to the mask grid.
        """
        logits = choose(output, single)[0].float()
        exact = shrink(masks_NSS, logits.shape[-1]).unsqueeze(1) - 0.5
        kept = torch.where(given_N.view(-1, 1, 1, 1), exact, logits)
        return enlarge(kept, masks_NSS.shape[-1]).squeeze(1) > 0

    def _corrected(
        self,
        features: ImageFeatures,
        conditioned: Tensor | None,
        output: DecoderOutput,
        single: Tensor,
        masks: Tensor,
        counted: Tensor,
        generator: torch.Generator,
    ) -> FrameLoss:
        """One correcting click on the decoded mask, with the previous logits as prompt.

        On a prompted frame (``conditioned`` None) no memory is used.
        """
        model = self.model
        logits = choose(output, single)[0].detach()
        predicted = enlarge(logits, masks.shape[-1]).squeeze(1) > 0
        points, labels = corrections(predicted, masks, generator)
        if conditioned is None:
            conditioned = model.attend(features.stride16_BCHW, None)
        previous = logits.clamp(-_LOGIT_LIMIT, _LOGIT_LIMIT)
        prompt = model.encode_prompts(points, labels, previous)
        again = model.decode(conditioned, features, prompt)
        return frame_loss(again, masks, counted, torch.zeros_like(single), self.weights)

    def _remember(
        self,
        memory: ClipMemory,
        features: ImageFeatures,
        output: DecoderOutput,
        single: Tensor,
        masks: Tensor,
        forced: bool,
    ) -> None:
        """Write a frame's memory and pointer, from the true mask if ``forced``."""
        model = self.model
        logits, token = choose(output, single)
        if forced:
            visible = masks.flatten(1).any(dim=1)
            scaled = masks.float().unsqueeze(1) * 20 - 10
        else:
            visible = output.object_score_logit_N1.squeeze(1) > 0
            gate = visible[:, None, None, None]
            # No gradient through remembered masks: it is expensive, and each frame has its loss.
            full = enlarge(logits.detach(), model.config.image_size)
            scaled = torch.where(gate, full.sigmoid(), 0.0) * 20 - 10
        spatial_NLc = model.encode_memory(features.stride16_BCHW, scaled, visible)
        memory.spatial_NLc.append(spatial_NLc)
        memory.pointer_NC.append(model.object_pointer(token, visible))
        memory.visible_N.append(visible)


def choose(output: DecoderOutput, single_N: Tensor) -> tuple[Tensor, Tensor]:
    """The mask logits (N, 1, h, w) and the token (N, C) that the tracker would use."""
    best = output.predicted_iou_N4[:, 1:].argmax(dim=1) + 1
    index = torch.where(single_N, 0, best)
    rows = torch.arange(len(index), device=index.device)
    return output.mask_logits_N4hw[rows, index].unsqueeze(1), output.mask_tokens_N4C[rows, index]


def enlarge(logits_N1hw: Tensor, side: int) -> Tensor:
    """Mask logits at another side, bilinear."""
    return F.interpolate(logits_N1hw, (side, side), mode="bilinear", align_corners=False)


def _number(generator: torch.Generator) -> float:
    return float(torch.rand((), generator=generator, device=generator.device))


def _integer(generator: torch.Generator, low: int, high: int) -> int:
    return int(torch.randint(low, high, (), generator=generator, device=generator.device))
