"""A world of two places: the real tracker, with a decoder that sees what the test says.

Where a path believes its object to be is read from the path's own motion in the bank, so that
every path is answered by what it remembers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.tracker.little import LITTLE, little_picture, little_tracker, step
from tracker import Prompt, Session, Track, Tracker
from tracker.engine.engine import Engine
from tracker.memory.bank import MemoryBank
from tracker.model import DecoderOutput, ImageFeatures
from tracker.policy.options import RobustOptions
from tracker.policy.robust_bank import RobustBank

SIDE = LITTLE.image_size // 4
SIZE = LITTLE.image_size
# y0, y1, x0, x1 in cells.
PLACES = {"left": (4, 12, 1, 6), "right": (4, 12, 10, 15), "speck": (0, 1, 8, 9)}


@dataclass
class World:
    """``sure``: the predicted IoU of a path's own mask, by place. ``doubtful``: frames on which
    right is told with 0.80 and left with 0.75, wherever a path is; ``unmoved``: slots that are
    told their own side even so. ``meeting``: frames on which everybody is seen on the left.
    ``hidden``: frames without an object. ``third``: what a third place is told with in doubt.
    ``rows``: of each call.
    """

    sure: dict[str, float] = field(default_factory=lambda: {"left": 0.9, "right": 0.9})
    doubtful: set[int] = field(default_factory=set)
    unmoved: set[int] = field(default_factory=set)
    meeting: set[int] = field(default_factory=set)
    hidden: set[int] = field(default_factory=set)
    rows: list[int] = field(default_factory=list)
    third: float = 0.1
    time: int = 0
    _bank: MemoryBank | None = None
    _slot_N: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))

    def asked(self, bank: MemoryBank, slot_N: np.ndarray) -> None:
        """These paths are next."""
        self._bank, self._slot_N = bank, slot_N

    def decode(self, output: DecoderOutput) -> DecoderOutput:
        """What is seen in place of what the little network says."""
        if not isinstance(self._bank, RobustBank):
            return output  # it is warming up
        centre_N = self._bank.motion_K45[torch.from_numpy(self._slot_N), 0, 0]
        self.rows.append(len(centre_N))
        masks, iou = torch.full((len(centre_N), 4, SIDE, SIDE), -6.0), torch.zeros(len(centre_N), 4)
        for row, x in enumerate(centre_N.tolist()):
            own = "left" if x < 0.5 or self.time in self.meeting else "right"
            told = {own: self.sure[own], "speck": 0.1}
            if self.time in self.doubtful and int(self._slot_N[row]) not in self.unmoved:
                told = {"right": 0.80, "left": 0.75, "speck": self.third}
            for mask, (place, score) in enumerate(told.items(), 1):
                y0, y1, x0, x1 = PLACES[place]
                masks[row, mask, y0:y1, x0:x1] = 6.0
                iou[row, mask] = score
        seen = -5.0 if self.time in self.hidden else 5.0
        score_N1 = torch.full((len(centre_N), 1), seen)
        return DecoderOutput(masks, iou, output.mask_tokens_N4C[: len(iou)], score_N1)

    def step(self, tracker: Tracker, session: Session, *prompts: Prompt) -> dict[int, Track]:
        """The next frame."""
        self.time = session.frames_seen
        return step(tracker, session, little_picture(self.time % 7), *prompts)

    def go(self, tracker: Tracker, session: Session, frames: int) -> dict[int, Track]:
        """The next frames."""
        tracks: dict[int, Track] = {}
        for _ in range(frames):
            tracks = self.step(tracker, session)
        return tracks


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """The decoder of tracked rows tells what this says."""
    made = World()
    attend, decode = Engine.attend, Engine.decode_unprompted

    def remembered(
        self: Engine, stride16: Tensor, bank: MemoryBank, slot_N: np.ndarray, *others: np.ndarray
    ) -> Tensor:
        made.asked(bank, slot_N)
        return attend(self, stride16, bank, slot_N, *others)

    def told(
        self: Engine, conditioned: Tensor, features: ImageFeatures, image_N: np.ndarray
    ) -> DecoderOutput:
        return made.decode(decode(self, conditioned, features, image_N))

    monkeypatch.setattr(Engine, "attend", remembered)
    monkeypatch.setattr(Engine, "decode_unprompted", told)
    return made


def without_network(monkeypatch: pytest.MonkeyPatch, world: World) -> None:
    """Nothing but the decoder's answers: frames by the thousand."""
    width, side = LITTLE.hidden_dim, LITTLE.grid_size
    levels = ((width, side), (width // 4, 2 * side), (width // 8, 4 * side))
    blank = ImageFeatures(*(torch.zeros(1, each, size, size) for each, size in levels))
    tokens = torch.zeros(16, 4, width)
    nothing = DecoderOutput(tokens, tokens, tokens, tokens)

    def remembered(
        self: Engine, stride16: Tensor, bank: MemoryBank, slot_N: np.ndarray, *_: np.ndarray
    ) -> Tensor:
        world.asked(bank, slot_N)
        return stride16

    def memories(self: Engine, stride16: Tensor, mask_N1SS: Tensor, *_: object) -> Tensor:
        return torch.zeros(len(mask_N1SS), LITTLE.memory_dim, side, side)

    monkeypatch.setattr(Engine, "encode_image", lambda *_: blank)
    monkeypatch.setattr(Engine, "attend", remembered)
    monkeypatch.setattr(Engine, "decode_unprompted", lambda *_: world.decode(nothing))
    monkeypatch.setattr(Engine, "encode_memory", memories)


def two_places_tracker(hypotheses: int = 2, rows: int = 8, max_objects: int = 8) -> Tracker:
    """Robust, as it is by default, but for what is tested."""
    options = RobustOptions(hypotheses=hypotheses, hypothesis_rows=rows, scene_cuts=False)
    return little_tracker(object_score_bias=30.0, robust=options, max_objects=max_objects)


def standing(place: str, object_id: int = 1) -> Prompt:
    """An object that stands there."""
    y0, y1, x0, x1 = (4 * each for each in PLACES[place])
    mask = np.zeros((SIZE, SIZE), np.bool_)
    mask[y0:y1, x0:x1] = True
    return Prompt(object_id, mask=mask)


def where(track: Track) -> str:
    """On which side an object is told to be."""
    x0, _, x1, _ = track.box_xyxy
    return "nowhere" if track.area == 0 else "left" if (x0 + x1) / 2 < SIZE / 2 else "right"


def all_slots_are_back(tracker: Tracker, objects: Iterable[int] = ()) -> bool:
    """Whether the bank has every slot but those of so many objects."""
    bank = tracker._bank
    assert isinstance(bank, RobustBank)
    slots = bank.capacity + bank.spare - len(list(objects))
    return len(bank._free) == len(set(bank._free)) == slots and bank.spare_slots == bank.spare
