"""The four encodings of a mask, against pycocotools and by round trips."""

from __future__ import annotations

import cv2
import hypothesis.extra.numpy as array_strategies
import hypothesis.strategies as st
import msgspec
import numpy as np
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from pycocotools import mask as coco_mask

from streamer.errors import WireError
from streamer.wire.mask_codecs import (
    POLYGON_MAXIMUM_RINGS,
    MaskEncoding,
    coco_rle,
    decode_crop,
    encode_crop,
)
from tracker.types import MaskArray

crops = array_strategies.arrays(
    np.bool_, array_strategies.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40)
)
# The suite runs beside others on a busy machine: the time of one example means nothing.
examples = settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow])


def ellipse(height: int, width: int) -> MaskArray:
    canvas = np.zeros((height, width), dtype=np.uint8)
    centre, axes = (width // 2, height // 2), (width // 2 - 1, height // 2 - 1)
    cv2.ellipse(canvas, centre, axes, 0, 0, 360, 1, -1)
    return canvas.astype(np.bool_)


@examples
@given(crops)
def test_rle_and_bits_come_back_as_they_were(crop: MaskArray) -> None:
    for encoding in (MaskEncoding.RLE, MaskEncoding.BITS):
        decoded = decode_crop(encode_crop(crop, encoding), encoding, *crop.shape)
        assert decoded.dtype == np.bool_
        np.testing.assert_array_equal(decoded, crop)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@examples
@given(crops)
def test_rle_is_what_pycocotools_reads(crop: MaskArray) -> None:
    counts = encode_crop(crop, MaskEncoding.RLE)
    read = coco_mask.decode({"size": list(crop.shape), "counts": counts})
    np.testing.assert_array_equal(read.astype(np.bool_), crop)


@examples
@given(crops, st.tuples(*[st.integers(0, 20)] * 4))
def test_full_frame_rle_equals_the_encoded_full_frame(
    crop: MaskArray, margins: tuple[int, int, int, int]
) -> None:
    left, top, right, bottom = margins
    full = np.pad(crop, ((top, bottom), (left, right)))
    rle = coco_rle(crop, (left, top), full.shape)
    assert rle == coco_mask.encode(np.asfortranarray(full.view(np.uint8)))


def test_rle_of_a_large_crop_is_the_same_though_it_is_turned_in_bands() -> None:
    crop = np.random.default_rng(0).random((700, 333)) > 0.5
    decoded = decode_crop(encode_crop(crop, MaskEncoding.RLE), MaskEncoding.RLE, 700, 333)
    np.testing.assert_array_equal(decoded, crop)


@examples
@given(crops)
def test_a_polygon_of_anything_decodes_into_its_size(crop: MaskArray) -> None:
    decoded = decode_crop(
        encode_crop(crop, MaskEncoding.POLYGON), MaskEncoding.POLYGON, *crop.shape
    )
    assert decoded.shape == crop.shape
    assert decoded.any() == crop.any()


@pytest.mark.parametrize(("height", "width"), [(100, 100), (37, 250), (400, 300)])
def test_a_polygon_is_true_to_about_a_pixel(height: int, width: int) -> None:
    crop = ellipse(height, width)
    hole = ellipse(height // 2, width // 2)
    crop[: hole.shape[0], width // 4 : width // 4 + hole.shape[1]] &= ~hole
    data = encode_crop(crop, MaskEncoding.POLYGON)
    decoded = decode_crop(data, MaskEncoding.POLYGON, height, width)
    padded = np.pad(crop.astype(np.uint8), 2)
    kernel = np.ones((5, 5), dtype=np.uint8)
    assert decoded[cv2.erode(padded, kernel)[2:-2, 2:-2] > 0].all()
    assert not decoded[cv2.dilate(padded, kernel)[2:-2, 2:-2] == 0].any()
    assert len(data) < len(encode_crop(crop, MaskEncoding.RLE))


def test_a_polygon_of_many_specks_stays_small() -> None:
    crop = np.random.default_rng(0).random((300, 300)) > 0.97
    rings = msgspec.msgpack.decode(encode_crop(crop, MaskEncoding.POLYGON))
    assert len(rings) == POLYGON_MAXIMUM_RINGS


def test_none_has_no_part() -> None:
    with pytest.raises(WireError, match="'none' has no mask part"):
        encode_crop(ellipse(10, 10), MaskEncoding.NONE)


def test_an_unknown_encoding_is_named() -> None:
    with pytest.raises(WireError, match="'jpeg' is unknown; this reader knows rle, bits"):
        decode_crop(b"", "jpeg", 1, 1)


@pytest.mark.parametrize(
    ("encoding", "data", "message"),
    [
        ("rle", b"", "empty"),
        ("rle", b"\x00\xff", "cannot hold"),
        ("rle", b"o", "ends inside a number"),
        ("rle", b"oooooooo0", "longer than any frame"),
        ("rle", b"1", "do not add up to 4 x 3"),
        ("bits", b"no zstd", "not a zstd frame"),
        ("bits", zstandard.compress(b"\0" * 1000), "does not hold 4 x 3"),
        ("polygon", b"\xc1", "not an array of rings"),
        ("polygon", msgspec.msgpack.encode([[1, 2, 3]]), "not an array of rings"),
        ("polygon", msgspec.msgpack.encode([[0, 0, 9, 9]]), "outside of 4 x 3"),
        ("polygon", msgspec.msgpack.encode([[0, 2**40]]), "not an array of rings"),
    ],
)
def test_part_that_contradicts_the_header_is_rejected(
    encoding: str, data: bytes, message: str
) -> None:
    with pytest.raises(WireError, match=message):
        decode_crop(data, encoding, 3, 4)


@examples
@given(st.binary(max_size=60), st.sampled_from(["rle", "bits", "polygon"]))
def test_random_bytes_give_a_mask_or_a_wire_error(data: bytes, encoding: str) -> None:
    try:
        decoded = decode_crop(data, encoding, 9, 7)
    except WireError:
        return
    assert decoded.shape == (9, 7)


def test_runs_that_add_up_only_after_an_overflow_are_refused() -> None:
    """Half a megabyte that once crashed the process: numpy's ``repeat`` trusts the sum."""
    pixels = 24 * 32
    data, runs = runs_of_sum(2**64 + pixels)
    assert int(np.array(runs, dtype=np.int64).sum()) == pixels
    with pytest.raises(WireError, match="do not add up"):
        decode_crop(data, "rle", 24, 32)


def runs_of_sum(total: int) -> tuple[bytes, list[int]]:
    """COCO counts with this sum: every second run grows, then shrinks, as far as seven bytes go."""
    step = 2**33
    runs: list[int] = []
    run, rest = 0, total
    while rest:
        for candidate in (run + step, run, max(0, run - step)):
            steps_down = candidate // step
            needed = candidate + steps_down * candidate - step * steps_down * (steps_down + 1) // 2
            if needed <= rest and (candidate or not run):
                break
        run = rest if rest <= run + step <= 2 * step else candidate
        runs += [0, run]
        rest -= run
    written = [run - runs[place - 2] if place > 2 else run for place, run in enumerate(runs)]
    return b"".join(coco_number(each) for each in written), runs


def coco_number(number: int) -> bytes:
    """A number as COCO's counts hold it."""
    characters = []
    while True:
        bits = number & 31
        number >>= 5
        more = number != (-1 if bits & 16 else 0)
        characters.append((bits | 32 if more else bits) + 48)
        if not more:
            return bytes(characters)
