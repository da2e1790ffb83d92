"""Painting a player: the joints of a running figure, its limbs, its kit.

Lengths inside a body are in units of its height.
"""

from __future__ import annotations

import math

import numpy as np

from tracker.scenes.frame import FloatArray
from tracker.scenes.layer import Colour, Layer, Texture, rgb
from tracker.scenes.motion import PlayerPose
from tracker.scenes.players import Appearance

# Digits 0..9 as rows of three bits, top to bottom.
_DIGITS = np.array(
    [
        [[int(bit) for bit in f"{int(row):03b}"] for row in digit]
        for digit in (
            "75557", "26227", "71747", "71717", "55711", "74717", "74757", "71122", "75757", "75717"
        )
    ],
    dtype=np.float32,
)  # fmt: skip


def paint_player(
    look: Appearance, pose: PlayerPose, x: float, y: float, height: float, sharp: float = 1.0
) -> Layer:
    """Paint a player whose feet stand at (x, y) of the frame, ``height`` pixels tall.

    ``sharp`` scales details that vanish on small figures; the result is not clipped to a frame.
    """
    height *= look.height
    half, above, below = int(0.48 * height) + 3, int(1.06 * height) + 3, int(0.08 * height) + 3
    layer = Layer(int(x) - half, int(y) - above, 2 * half, above + below)
    body = _Body(layer, look, pose, x, y, height)
    phase = 2.0 * math.pi * pose.gait
    near = 1 if pose.facing >= 0 else -1
    body.arm(-near, phase)
    body.leg(-near, phase + math.pi)
    body.leg(near, phase)
    body.trunk(sharp)
    body.head()
    body.arm(near, phase + math.pi)
    return layer


class _Body:
    """The joints of one figure on one frame; paints its parts."""

    def __init__(
        self, layer: Layer, look: Appearance, pose: PlayerPose, x: float, y: float, height: float
    ) -> None:
        self.layer, self.look, self.pose = layer, look, pose
        self.x, self.y, self.height = x, y, height
        self.swing = 0.12 + 0.75 * pose.effort
        self.frontal = math.sqrt(max(0.0, 1.0 - pose.facing**2))
        self.bob = 0.018 * pose.effort * abs(math.sin(2.0 * math.pi * pose.gait))
        self.lean = 0.10 * pose.effort * pose.facing
        self.hip = (0.0, 0.49 + self.bob)
        self.neck = (self.lean, 0.81 + self.bob)

    def point(self, along: float, up: float) -> tuple[float, float]:
        return self.x + along * self.height, self.y - up * self.height

    def limb(
        self,
        start: tuple[float, float],
        end: tuple[float, float],
        start_radius: float,
        end_radius: float,
        paint: Colour | Texture,
    ) -> None:
        self.layer.limb(
            self.point(*start),
            self.point(*end),
            start_radius * self.height,
            end_radius * self.height,
            paint,
        )

    def leg(self, side: int, phase: float) -> None:
        """Hip to boot: the knee bends while the leg swings forward."""
        look, facing = self.look, self.pose.facing
        thigh = 0.12 * self.pose.effort + 0.85 * self.swing * math.sin(phase)
        bend = 0.10 + 1.5 * self.swing * max(0.0, math.cos(phase))
        shin = thigh - bend
        spread = 0.045 * side * self.frontal
        hip = (self.hip[0] + spread, self.hip[1])
        knee = (hip[0] + 0.235 * math.sin(thigh) * facing, hip[1] - 0.235 * math.cos(thigh))
        ankle = (knee[0] + 0.215 * math.sin(shin) * facing, knee[1] - 0.215 * math.cos(shin))
        middle = ((hip[0] + 2 * knee[0]) / 3, (hip[1] + 2 * knee[1]) / 3)
        bulk = look.bulk
        self.limb(hip, knee, 0.058 * bulk, 0.040 * bulk, look.skin)
        self.limb(knee, ankle, 0.040 * bulk, 0.026, self._socks())
        toe = (ankle[0] + 0.07 * facing * math.cos(shin * 0.6), ankle[1] - 0.012)
        self.limb((ankle[0], ankle[1] - 0.008), toe, 0.026, 0.020, look.boots)
        self.limb(hip, middle, 0.072 * bulk, 0.062 * bulk, look.shorts)

    def arm(self, side: int, phase: float) -> None:
        """Shoulder to hand, swinging against the leg of its side."""
        look, facing = self.look, self.pose.facing
        upper = 0.9 * self.swing * math.sin(phase)
        fore = upper + 0.25 + 1.1 * self.pose.effort
        spread = side * (0.035 + 0.075 * self.frontal)
        shoulder = (self.neck[0] + spread * (0.4 + 0.6 * self.frontal), self.neck[1] - 0.035)
        out = 0.05 * side * self.frontal
        elbow = (shoulder[0] + 0.15 * math.sin(upper) * facing + out,
                 shoulder[1] - 0.15 * math.cos(upper))  # fmt: skip
        hand = (elbow[0] + 0.15 * math.sin(fore) * facing,
                elbow[1] - 0.15 * math.cos(fore))  # fmt: skip
        sleeve = ((shoulder[0] + 2 * elbow[0]) / 3, (shoulder[1] + 2 * elbow[1]) / 3)
        self.limb(elbow, hand, 0.026, 0.020, look.skin)
        self.limb(sleeve, elbow, 0.028, 0.026, look.skin)
        self.limb(shoulder, sleeve, 0.042, 0.036, look.shirt)

    def trunk(self, sharp: float) -> None:
        """Shorts' waist and the shirt with its pattern and number."""
        look = self.look
        width = (0.078 + 0.030 * self.frontal) * look.bulk
        waist = (self.lean * 0.2, self.hip[1] + 0.04)
        belly = 0.078 * look.bulk
        self.limb((0.0, self.hip[1] - 0.01), waist, belly, 0.96 * belly, look.shorts)
        top = (self.neck[0] * 0.9, self.neck[1] - 0.075)
        self.limb(top, (self.lean * 0.25, self.hip[1] + 0.07), width, width * 0.86,
                  self._shirt(sharp))  # fmt: skip

    def head(self) -> None:
        """Neck, face and hair; the face turns with the run."""
        look, facing = self.look, self.pose.facing
        centre = (self.neck[0] * 1.25 + 0.012 * facing, self.neck[1] + 0.095)
        self.limb(self.neck, centre, 0.030, 0.030, look.skin)
        if look.hair_style == "long":
            tail = (centre[0] - 0.055 * facing, centre[1] - 0.09)
            self.limb(centre, tail, 0.056, 0.030, look.hair)
        self.limb((centre[0], centre[1] + 0.012), (centre[0], centre[1] - 0.018), 0.055, 0.048,
                  look.skin)  # fmt: skip
        if look.hair_style == "bald":
            return
        back = 0.022 * facing
        lower = 0.030 * max(0.0, self.pose.away)  # seen from behind there is more hair
        self.limb((centre[0] - back * 1.4, centre[1] + 0.022 - lower),
                  (centre[0] + back * 0.4, centre[1] + 0.036), 0.046, 0.042, look.hair)  # fmt: skip
        if look.hair_style == "bun":
            bun = (centre[0] - 0.055 * facing, centre[1] + 0.06)
            self.limb(bun, bun, 0.026, 0.026, look.hair)

    def _socks(self) -> Colour | Texture:
        look = self.look
        if look.sock_pattern == "plain":
            return look.socks
        socks, trim = rgb(look.socks), rgb(look.trim)
        hoops = look.sock_pattern == "hoops"

        def texture(across: FloatArray, along: FloatArray) -> FloatArray:
            band = (along * 7.0 % 2.0 < 1.0) if hoops else (along < 0.3)
            return np.where((band & (across > -2))[:, :, None], trim, socks)

        return texture

    def _shirt(self, sharp: float) -> Texture:
        look, facing = self.look, self.pose.facing
        shirt, trim = rgb(look.shirt), rgb(look.trim)
        tens, ones = divmod(look.number % 100, 10)
        digits = [ones] if tens == 0 else [tens, ones]
        # Folds move with the gait; a plain shirt then still has a texture.
        fold_phase = 2.0 * math.pi * self.pose.gait

        def texture(across: FloatArray, along: FloatArray) -> FloatArray:
            turned = across + np.float32(0.35 * facing)
            if look.shirt_pattern == "stripes":
                marked = turned * 2.4 % 1.0 < 0.45
            elif look.shirt_pattern == "hoops":
                marked = along * 3.2 % 1.0 < 0.42
            elif look.shirt_pattern == "sash":
                marked = np.abs(turned * 0.5 + along - 0.45) < 0.16
            elif look.shirt_pattern == "halves":
                marked = turned > 0.1
            else:
                marked = along < 0.07
            colour = np.where(marked[:, :, None], trim, shirt)
            if sharp > 0.5:
                column = (turned + 0.42) / 0.84 * (4 * len(digits) - 1)
                row = (along - 0.22) / 0.48 * 5.0
                inside = (column >= 0) & (column < 4 * len(digits) - 1) & (row >= 0) & (row < 5)
                slot = np.clip(column // 4, 0, len(digits) - 1).astype(np.intp)
                bit = np.clip(column - slot * 4, 0, 3.99).astype(np.intp)
                table = np.zeros((len(digits), 5, 4), dtype=np.float32)
                table[:, :, :3] = _DIGITS[digits]
                ink = table[slot, np.clip(row, 0, 4).astype(np.intp), bit] > 0
                plate = trim if look.shirt_pattern == "plain" else rgb((20, 20, 24))
                colour = np.where((ink & inside)[:, :, None], plate, colour)
            fold = 1.0 + 0.09 * np.sin(9.0 * along + 4.0 * across + fold_phase)
            return np.asarray(colour * fold[:, :, None], dtype=np.float32)

        return texture
