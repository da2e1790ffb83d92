"""Frames and prompts are transformed as in Meta's code."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from tests.tracker.agreement.scripts import picture
from tracker.config import IMAGE_MEAN, IMAGE_STD
from tracker.images import transforms

SIDE = 256
CPU = torch.device("cpu")


def levels(image_3SS: torch.Tensor) -> npt.NDArray[np.float32]:
    """Normalised pixels back to 0..255, (S, S, 3)."""
    mean = torch.tensor(IMAGE_MEAN).view(3, 1, 1)
    deviation = torch.tensor(IMAGE_STD).view(3, 1, 1)
    return (255 * (image_3SS * deviation + mean)).permute(1, 2, 0).numpy()


@pytest.mark.parametrize(
    ("height", "width"), [(360, 640), (1080, 1920), (100, 900), (80, 100), (31, 7)]
)
def test_image_is_resized_as_meta_resizes_video(height: int, width: int) -> None:
    """Meta's loader uses Pillow: antialiased bicubic, both passes in uint8."""
    image = picture(1, height, width)
    expected = np.asarray(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    resized = levels(transforms.images_to_tensor([image], SIDE, CPU)[0])
    difference = np.abs(resized - expected.astype(np.float32))
    assert difference.max() < 2.01
    assert difference.mean() < 0.01


def test_image_of_the_right_size_is_only_normalised() -> None:
    image = picture(1, SIDE, SIDE)
    pixels = levels(transforms.images_to_tensor([image], SIDE, CPU)[0])
    np.testing.assert_allclose(pixels, image, atol=1e-4)


def test_channels_are_normalised_by_the_statistics_of_imagenet() -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    image[:] = (124, 116, 104)
    pixels = transforms.images_to_tensor([image], 4, CPU)[0]
    expected = [
        (value / 255 - mean) / deviation
        for value, mean, deviation in zip(
            (124, 116, 104), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True
        )
    ]
    torch.testing.assert_close(pixels[:, 1, 2], torch.tensor(expected), rtol=0, atol=1e-5)


def test_points_scale_separately_in_x_and_y() -> None:
    points = np.array([[0, 0], [640, 360], [320.5, 90]], np.float32)
    np.testing.assert_allclose(
        transforms.points_to_model(points, 360, 640, SIDE), [[0, 0], [256, 256], [128.2, 64]]
    )


def test_mask_prompt_is_resized_and_thresholded_at_a_half() -> None:
    mask = np.zeros((360, 640), np.bool_)
    mask[90:180, 160:480] = True
    resized = transforms.mask_to_model(mask, SIDE)
    assert resized.shape == (1, SIDE, SIDE)
    expected = torch.zeros(1, SIDE, SIDE)
    expected[:, 64:128, 64:192] = 1
    assert torch.equal(resized, expected)


def test_an_image_is_normalised_into_another_dtype_in_one_pass_and_channels_last() -> None:
    pixels = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    found = transforms.normalised(pixels, torch.bfloat16)
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found, transforms.normalised(pixels).bfloat16())
