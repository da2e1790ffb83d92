"""The appearance of players.

Team-mates share the kit and differ in hair, skin, number, socks, boots and height; look-alikes
differ in their number only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from tracker.scenes.layer import Colour

ShirtPattern = Literal["plain", "stripes", "hoops", "sash", "halves"]
SockPattern = Literal["plain", "top", "hoops"]

_SHIRTS: tuple[tuple[str, Colour, Colour, Colour], ...] = (
    ("red", (196, 36, 40), (244, 238, 230), (240, 240, 240)),
    ("blue", (36, 74, 176), (226, 232, 244), (24, 34, 80)),
    ("white", (236, 236, 232), (28, 30, 44), (30, 32, 46)),
    ("yellow", (238, 204, 48), (30, 70, 44), (28, 84, 52)),
    ("black", (34, 34, 40), (222, 60, 54), (228, 228, 228)),
    ("violet", (112, 52, 152), (240, 220, 120), (60, 24, 92)),
    ("orange", (236, 124, 32), (32, 32, 40), (238, 236, 228)),
    ("cyan", (92, 186, 224), (250, 250, 250), (250, 250, 250)),
)
_SKINS: tuple[Colour, ...] = ((236, 196, 168), (206, 154, 118), (156, 104, 72), (98, 64, 46))
_HAIRS: tuple[Colour, ...] = (
    (34, 26, 22),
    (92, 58, 32),
    (206, 168, 88),
    (164, 74, 34),
    (150, 150, 150),
)
_BOOTS: tuple[Colour, ...] = (
    (24, 24, 26),
    (240, 240, 240),
    (240, 92, 40),
    (60, 210, 120),
    (250, 220, 60),
)


@dataclass(frozen=True, slots=True)
class Appearance:
    """The looks of one player. ``height`` is relative to the others', about 0.92..1.08."""

    team: str
    number: int
    shirt: Colour
    trim: Colour
    shorts: Colour
    socks: Colour
    skin: Colour
    hair: Colour
    boots: Colour
    shirt_pattern: ShirtPattern
    sock_pattern: SockPattern
    hair_style: Literal["short", "bun", "long", "bald"]
    height: float
    bulk: float

    @property
    def label(self) -> str:
        """Such as "red 7"."""
        return f"{self.team} {self.number}"


def make_teams(
    generator: np.random.Generator, players: int, look_alikes: bool = False
) -> list[Appearance]:
    """Dress ``players`` in two kits, the first half in one and the others in the other."""
    kits = generator.permutation(len(_SHIRTS))[:2]
    patterns: list[ShirtPattern] = ["plain", "stripes", "hoops", "sash", "halves"]
    pattern_order = generator.permutation(len(patterns))
    appearances: list[Appearance] = []
    for player in range(players):
        side = player % 2
        team, shirt, trim, shorts = _SHIRTS[kits[side]]
        if look_alikes and player >= 2:
            twin = appearances[side]
            appearances.append(replace(twin, number=twin.number + player))
            continue
        appearances.append(
            Appearance(
                team=team,
                number=2 + player * 2 + int(generator.integers(0, 2)),
                shirt=shirt,
                trim=trim,
                shorts=shorts,
                socks=shirt if generator.random() < 0.5 else trim,
                skin=_pick(generator, _SKINS),
                hair=_pick(generator, _HAIRS),
                boots=_pick(generator, _BOOTS),
                shirt_pattern=patterns[pattern_order[side]],
                sock_pattern=("plain", "top", "hoops")[int(generator.integers(3))],
                hair_style=("short", "short", "bun", "long", "bald")[int(generator.integers(5))],
                height=float(generator.uniform(0.92, 1.08)),
                bulk=float(generator.uniform(0.92, 1.12)),
            )
        )
    return appearances


def _pick(generator: np.random.Generator, choices: tuple[Colour, ...]) -> Colour:
    return choices[int(generator.integers(len(choices)))]
