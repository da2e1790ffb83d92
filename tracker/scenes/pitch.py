"""The static scenery: stands, boards, mown grass with lines, and occluders."""

from __future__ import annotations

import numpy as np

from tracker.scenes.frame import FloatArray, ImageArray
from tracker.scenes.layer import Colour, Layer, rgb

HORIZON = 0.245  # top edge of the grass, in frame heights
_BOARDS: tuple[Colour, ...] = (
    (24, 60, 140),
    (226, 226, 222),
    (184, 30, 40),
    (20, 110, 84),
    (240, 190, 40),
    (40, 40, 48),
)
_WORDS = ("MASKLET", "LIVE", "MASKS", "MASKLET", "OPEN")
_LETTERS = {
    "A": ("01110", "10001", "11111", "10001", "10001"),
    "E": ("1111", "1000", "1110", "1000", "1111"),
    "I": ("111", "010", "010", "010", "111"),
    "K": ("1001", "1010", "1100", "1010", "1001"),
    "L": ("1000", "1000", "1000", "1000", "1111"),
    "M": ("10001", "11011", "10101", "10001", "10001"),
    "N": ("10001", "11001", "10101", "10011", "10001"),
    "O": ("01110", "10001", "10001", "10001", "01110"),
    "P": ("1110", "1001", "1110", "1000", "1000"),
    "S": ("01111", "10000", "01110", "00001", "11110"),
    "T": ("11111", "00100", "00100", "00100", "00100"),
    "V": ("10001", "10001", "10001", "01010", "00100"),
}


def paint_pitch(generator: np.random.Generator, width: int, height: int) -> ImageArray:
    """A (height, width, 3) picture of an empty pitch seen from the stands."""
    y = ((np.arange(height) + 0.5) / height).astype(np.float32)
    x = ((np.arange(width) + 0.5 - width / 2) / height).astype(np.float32)
    picture = np.empty((height, width, 3), dtype=np.float32)
    edge = int(HORIZON * height)
    picture[edge:] = _grass(generator, x, y[edge:])
    _paint_stands(generator, picture[:edge], height)
    return np.clip(picture, 0, 255).astype(np.uint8)


def smooth_noise(generator: np.random.Generator, height: int, width: int, cell: int) -> FloatArray:
    """Value noise, -1..1, whose features are about ``cell`` pixels wide."""
    rows, columns = height // cell + 3, width // cell + 3
    coarse = generator.uniform(-1.0, 1.0, (rows, columns)).astype(np.float32)
    y = np.arange(height, dtype=np.float32) / cell
    x = np.arange(width, dtype=np.float32) / cell
    low_y, low_x = y.astype(np.intp), x.astype(np.intp)
    part_y, part_x = (y - low_y)[:, None], (x - low_x)[None, :]
    above = coarse[low_y][:, low_x] * (1 - part_x) + coarse[low_y][:, low_x + 1] * part_x
    below = coarse[low_y + 1][:, low_x] * (1 - part_x) + coarse[low_y + 1][:, low_x + 1] * part_x
    return np.asarray(above * (1 - part_y) + below * part_y, dtype=np.float32)


def _grass(generator: np.random.Generator, x: FloatArray, y: FloatArray) -> FloatArray:
    """Mown stripes that converge with distance, uneven growth, and white lines."""
    height, width = len(y), len(x)
    down = ((y - HORIZON) / (1.0 - HORIZON))[:, None]  # 0 far, 1 near
    ground_x = x[None, :] / (0.62 + 0.46 * down)  # straight lines on the ground converge
    base = np.float32(generator.uniform((58, 118, 40), (92, 150, 62)))
    stripe = np.tanh(12.0 * np.sin(ground_x * np.float32(generator.uniform(9.0, 13.0))))
    shade = 1.0 + 0.065 * stripe + 0.10 * (down - 0.5)
    for cell, weight in ((3, 0.05), (11, 0.045), (60, 0.06)):
        shade = shade + weight * smooth_noise(
            generator, height, width, max(1, cell * height // 272)
        )
    shade = shade + generator.normal(0.0, 0.055, (height, width)).astype(np.float32)
    grass = base * shade[:, :, None]
    worn = np.clip(smooth_noise(generator, height, width, max(2, height // 5)) - 0.35, 0.0, 1.0)
    grass += (rgb((150, 130, 84)) - grass) * (0.55 * worn)[:, :, None]
    line = 0.006 * (0.5 + down)
    centre = float(generator.uniform(-0.35, 0.35))
    off = np.abs(ground_x - centre)
    circle = np.sqrt((ground_x - centre) ** 2 + ((down - 0.46) / 0.62) ** 2)
    distance = np.minimum.reduce(
        [
            np.broadcast_to(np.abs(down - 0.05) * 0.7, off.shape),
            np.broadcast_to(np.abs(down - 0.955) * 0.8, off.shape),
            off,
            np.abs(circle - 0.42) * 0.8,
            np.abs(circle) - 0.01,
        ]
    )
    chalk = np.clip((line - distance) * 400.0 + 0.5, 0.0, 0.85)[:, :, None]
    wear = 1.0 - 0.3 * np.abs(smooth_noise(generator, height, width, 5))[:, :, None]
    chalk = chalk * wear
    return np.asarray(grass * (1 - chalk) + rgb((232, 236, 228)) * chalk, dtype=np.float32)


def _paint_stands(generator: np.random.Generator, picture: FloatArray, frame_height: int) -> None:
    """Spectators above, a row of boards below."""
    height, width, _ = picture.shape
    board = max(4, int(0.085 * frame_height))
    cell = max(2, frame_height // 90)
    rows, columns = height // cell + 1, width // cell + 1
    crowd = generator.uniform(30, 190, (rows, columns, 3)).astype(np.float32)
    crowd = crowd * np.float32(0.45) + crowd.mean(axis=2, keepdims=True) * np.float32(0.3)
    crowd = np.repeat(np.repeat(crowd, cell, axis=0), cell, axis=1)[:height, :width]
    tiers = 1.0 - 0.35 * (np.arange(height) % max(3, 3 * cell) < cell)
    picture[...] = crowd * tiers[:, None, None].astype(np.float32)
    top = height - board
    panel = int(0.42 * frame_height)
    for start in range(0, width, panel):
        colour = rgb(_BOARDS[int(generator.integers(len(_BOARDS)))])
        ink = rgb((245, 245, 245)) if colour.mean() < 140 else rgb((30, 32, 60))
        space = picture[top:, start : start + panel]
        space[...] = colour
        _write(space, _WORDS[int(generator.integers(len(_WORDS)))], ink)
    picture[top : top + max(1, board // 14)] = 210.0
    picture[-max(1, board // 12) :] *= 0.6


def _write(board: FloatArray, word: str, ink: FloatArray) -> None:
    """Write a word in block letters into the middle of a board (height, width, 3)."""
    height, width, _ = board.shape
    letters = [np.array([[int(bit) for bit in row] for row in _LETTERS[each]]) for each in word]
    gap = np.zeros((5, 1), dtype=np.intp)
    pattern = np.hstack([piece for letter in letters for piece in (letter, gap)])[:, :-1]
    cell = height // 8
    if cell < 1 or pattern.shape[1] * cell > width:
        return  # too small to be read
    drawn = np.kron(pattern, np.ones((cell, cell), dtype=np.intp)) > 0
    y, x = (height - drawn.shape[0]) // 2, (width - drawn.shape[1]) // 2
    board[y : y + drawn.shape[0], x : x + drawn.shape[1]][drawn] = ink


def paint_totem(generator: np.random.Generator, width: int, height: int) -> Layer:
    """An advertising column, (height, width), to be placed by its upper left corner."""
    layer = Layer(0, 0, width, height)
    colours = generator.permutation(len(_BOARDS))
    y = np.arange(height, dtype=np.float32)[:, None] / height
    x = np.arange(width, dtype=np.float32)[None, :] / width
    colour = np.broadcast_to(rgb(_BOARDS[colours[0]]), (height, width, 3)).copy()
    other = rgb(_BOARDS[colours[1]])
    colour[np.broadcast_to((y * 3.0 + x * 0.8) % 1.0 < 0.3, (height, width))] = other
    ring = np.hypot((x - 0.5) * width, (y - 0.3) * height) / width
    colour[(ring < 0.36) & (ring > 0.22)] = 245.0
    frame = (x * width < 2) | (x * width > width - 3) | (y * height < 2)
    colour[np.broadcast_to(frame, (height, width))] = 58.0
    colour[np.broadcast_to(y > 0.965, (height, width))] = 40.0
    colour *= (1.04 - 0.16 * x)[:, :, None]
    colour += generator.normal(0.0, 3.0, (height, width, 1)).astype(np.float32)
    layer.rgb[...] = np.clip(colour, 0, 255)
    layer.alpha[...] = 1.0
    return layer


def paint_pole(width: int, height: int) -> Layer:
    """A padded post, (height, width), striped at its foot."""
    layer = Layer(0, 0, width, height)
    y = np.arange(height, dtype=np.float32)[:, None]
    round_light = np.sin(np.linspace(0.35, 2.6, width, dtype=np.float32))[None, :, None]
    band = (y // max(3, height // 14) % 2 == 0) & (y > 0.55 * height)
    tone = np.where(band, np.float32(70.0), np.float32(225.0))[:, :, None]
    layer.rgb[...] = np.broadcast_to(tone, (height, width, 3)) * round_light
    layer.alpha[...] = 1.0
    return layer
