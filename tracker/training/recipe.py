"""A training run as data: its phases, losses and sampling.

A recipe is plain numbers. ``NANO`` is nano's first run, from scratch; ``FINE_TUNE`` is the default
for footage of your own. A TOML file given with ``--config`` replaces single values; the run that
made nano is ``checkpoints/nano.toml``.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from tracker.errors import TrackerError


class RecipeError(TrackerError, ValueError):
    """A recipe names an unknown key or an impossible value."""


@dataclass(frozen=True, slots=True)
class Phase:
    """One phase of the curriculum. Pairs are (start, end) values, interpolated in between.

    ``steps``: its length, or its weight among the phases in a run of given minutes.
    ``image_size``: side of the training images in pixels, 0 for the model's own. Smaller images are
    crops of the scene, so that objects keep their size in pixels. ``half_size_share`` of the steps
    use half that side, at a quarter of the cost. ``motion`` scales speeds.

    ``match_share`` of the clips come from the rendered match, the rest are composed. Of the match's
    clips, ``absence_share`` show an object that is fully hidden and returns, ``covered_share`` get
    an added occluder, and in ``camera_share`` the camera turns away and back. Of the composed
    layers, ``hidden_share`` vanish for some frames and ``small_share`` are a few pixels large; in
    ``contact_share`` of the composed clips two of them touch from beginning to end; in
    ``photo_share`` of the composed clips the objects of a photograph are tracked.

    ``box_share`` and ``point_share`` of the objects are prompted that way, the others with a mask;
    ``correction_share`` of the steps add a correcting click. ``teacher_forcing``: probability that
    a memory is written from the true mask; ``memory_drop``: that a memory is left out.
    ``visible_memory_share`` of the steps remember only frames on which an object is visible, as the
    robust memory policy does.

    ``place_memory`` initialises the memory's weights when the phase begins (``initialise.py``).
    Parameters whose names start with one of ``frozen`` are not trained.
    """

    name: str
    steps: int
    image_size: int
    clips: int
    frames: int
    objects: int = 2
    learning_rate: tuple[float, float] = (1e-3, 1e-3)
    motion: tuple[float, float] = (1.0, 1.0)
    teacher_forcing: tuple[float, float] = (0.0, 0.0)
    match_share: float = 0.5
    absence_share: float = 0.0
    covered_share: float = 0.0
    camera_share: float = 0.0
    hidden_share: float = 0.0
    small_share: float = 0.0
    photo_share: float = 0.0
    contact_share: float = 0.0
    visible_memory_share: float = 0.0
    box_share: float = 0.25
    point_share: float = 0.25
    correction_share: float = 0.2
    memory_drop: float = 0.15
    half_size_share: float = 0.0
    place_memory: bool = False
    frozen: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if min(self.steps, self.clips, self.frames, self.objects) < 1:
            raise RecipeError(f"phase {self.name}: steps, clips, frames, objects must be >= 1")
        if self.image_size % 32:
            raise RecipeError(
                f"phase {self.name}: image_size must be a multiple of 32, got {self.image_size}"
            )
        if self.half_size_share and self.image_size % 64:
            raise RecipeError(
                f"phase {self.name}: with half_size_share image_size must be a multiple of 64, "
                f"got {self.image_size}"
            )
        if self.box_share + self.point_share > 1.0:
            raise RecipeError(f"phase {self.name}: box_share + point_share must be at most 1")

    def share_at(self, step: int) -> float:
        """The fraction of the phase, 0..1, before its n-th step."""
        return min(1.0, step / max(1, self.steps - 1))

    @staticmethod
    def at(pair: tuple[float, float], share: float) -> float:
        """The value of a (start, end) pair after a fraction of the phase, 0..1."""
        return pair[0] + (pair[1] - pair[0]) * share


@dataclass(frozen=True, slots=True)
class LossWeights:
    """Weights of the paper's losses (20 : 1 : 1 : 1), and of plain cross-entropy beside focal.

    ``all_masks``: weight of the mean of all three masks, beside the best one. ``taught_masks`` and
    ``taught_features``: weights of a teacher's answers. ``absent_iou``: weight of a predicted IoU
    of 0 for absent objects.
    """

    focal: float = 20.0
    dice: float = 1.0
    iou: float = 1.0
    occlusion: float = 1.0
    cross_entropy: float = 0.0
    all_masks: float = 0.25
    absent_iou: float = 0.0
    taught_masks: float = 1.0
    taught_features: float = 1.0


@dataclass(frozen=True, slots=True)
class Recipe:
    """A whole run; several processes share their gradients in every step.

    ``bfloat16``: compute in it where the device has units for it. ``trunk_rate``: the share of the
    learning rate with which the image trunk learns, small for one that was trained before.
    """

    phases: tuple[Phase, ...]
    preset: str = "nano"
    losses: LossWeights = field(default_factory=LossWeights)
    optimizer: str = "adamw"
    weight_decay: float = 0.02
    gradient_clip: float = 1.0
    warmup_steps: int = 50
    ema_decay: float = 0.998
    trunk_rate: float = 1.0
    structured_initialisation: bool = True
    bfloat16: bool = False
    threads: int = 2
    log_every: int = 10
    checkpoint_every: int = 100
    plot_every: int = 500

    def __post_init__(self) -> None:
        if not self.phases:
            raise RecipeError("a recipe needs at least one phase")
        if self.optimizer not in ("adamw", "muon"):
            raise RecipeError(f"optimizer must be adamw or muon, got {self.optimizer!r}")

    @property
    def steps(self) -> int:
        """The number of steps of all phases."""
        return sum(phase.steps for phase in self.phases)

    def phase_at(self, step: int) -> tuple[Phase, float]:
        """The phase of a step, and the fraction of it that is over, 0..1; at the end the last."""
        for phase in self.phases:
            if step < phase.steps:
                return phase, phase.share_at(step)
            step -= phase.steps
        return self.phases[-1], 1.0

    def phase_after(self, share: float) -> tuple[Phase, float]:
        """The same after a fraction of the run's time, 0..1; steps are weights."""
        step = share * self.steps
        for phase in self.phases:
            if step < phase.steps:
                return phase, step / phase.steps
            step -= phase.steps
        return self.phases[-1], 1.0


_SETTLED = ("memory_encoder.mask_downsampler",)

NANO = Recipe(
    phases=(
        Phase(
            "images", 896, 128, 12, 1, 3,
            learning_rate=(1.5e-3, 1.5e-3), box_share=0.5, point_share=0.5, correction_share=0.15,
        ),
        Phase(
            "pairs", 180, 128, 8, 3, 3,
            motion=(0.3, 0.6), teacher_forcing=(1.0, 0.8), match_share=0.55,
            box_share=0.3, point_share=0.3, correction_share=0.15, place_memory=True,
        ),
        Phase(
            "clips", 395, 128, 8, 4, 3,
            learning_rate=(1.2e-3, 1.1e-3), motion=(0.6, 0.9), teacher_forcing=(0.6, 0.35),
            match_share=0.65, box_share=0.3, point_share=0.15, correction_share=0.1,
        ),
        Phase(
            "large", 207, 256, 4, 4, 5,
            learning_rate=(1e-3, 8e-4), motion=(0.6, 0.7), teacher_forcing=(0.3, 0.2),
            match_share=0.75, box_share=0.3, point_share=0.15, correction_share=0.1,
            frozen=_SETTLED,
        ),
        Phase(
            "long", 430, 256, 4, 6, 5,
            learning_rate=(9e-4, 2e-5), motion=(0.6, 0.6), teacher_forcing=(0.15, 0.0),
            match_share=0.8, box_share=0.2, point_share=0.1, correction_share=0.08,
            frozen=_SETTLED,
        ),
    ),
    optimizer="muon",
    trunk_rate=0.15,
)  # fmt: skip

FINE_TUNE = Recipe(
    phases=(Phase("fine-tune", 1000, 0, 2, 4, learning_rate=(5e-5, 1e-6), correction_share=0.1),),
    structured_initialisation=False,
    ema_decay=0.99,
)


def load_recipe(path: Path | None, base: Recipe) -> Recipe:
    """``base`` with the values of a TOML file, which may list ``[[phases]]`` and ``[losses]``.

    Raises RecipeError for a file that cannot be read and for an unknown key.
    """
    if path is None:
        return base
    try:
        table = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise RecipeError(f"recipe {path} cannot be read: {error}") from error
    changes: dict[str, Any] = dict(table)
    if "phases" in changes:
        changes["phases"] = tuple(_fill(Phase, row, "phases") for row in changes["phases"])
    if "losses" in changes:
        changes["losses"] = _fill(LossWeights, changes["losses"], "losses")
    _check_keys(Recipe, changes, "recipe")
    return replace(base, **changes)


def _check_keys(kind: type, table: dict[str, Any], where: str) -> None:
    known = {item.name for item in fields(kind)}
    unknown = sorted(set(table) - known)
    if unknown:
        raise RecipeError(f"{where}.{unknown[0]} is not a setting; known: {sorted(known)}")


def _fill(kind: type, table: dict[str, Any], where: str) -> Any:
    _check_keys(kind, table, where)
    values = {
        key: tuple(value) if isinstance(value, list) else value for key, value in table.items()
    }
    try:
        return kind(**values)
    except TypeError as error:
        raise RecipeError(f"{where}: {error}") from error
