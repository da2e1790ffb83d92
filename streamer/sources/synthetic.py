"""The rendered match as a source: deterministic by seed, any size and rate."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from streamer.errors import ConfigError
from streamer.sources.base import SourceOutput
from streamer.types import ClockSource, DecodedFrame, DropReason, RgbPixels
from tracker.scenes.match import Match

# Presentation times count microseconds, exact enough for any rate.
_TIME_BASE = Fraction(1, 1_000_000)


@dataclass(frozen=True, slots=True)
class SceneSettings:
    """The scene to render. ``duration_s`` 0 is endless; ``pace`` scales all motion."""

    seed: int = 1
    width: int = 640
    height: int = 360
    rate_hz: float = 25.0
    duration_s: float = 0.0
    players: int = 7
    occluders: int = 2
    pace: float = 1.0


_LIMITS: dict[str, tuple[Callable[[str], float], float, float]] = {
    "seed": (int, 0, 2**31 - 1),
    "width": (int, 64, 4096),
    "height": (int, 64, 4096),
    "rate_hz": (float, 0.1, 240),
    "duration_s": (float, 0, 86_400 * 365),
    "players": (int, 1, 12),
    "occluders": (int, 0, 2),
    "pace": (float, 0.1, 4),
}


def scene_settings(key: str, scene: str, parameters: dict[str, str]) -> SceneSettings:
    """The settings that a ``synthetic://SCENE?name=value&…`` URL names.

    Raises ``ConfigError``, naming ``key`` (``streams.gate.url``) and what is allowed.
    """
    if scene != "match":
        raise ConfigError(f"{key}: the synthetic scene must be match, got {scene!r}")
    values: dict[str, float] = {}
    for name, text in parameters.items():
        if name not in _LIMITS:
            raise ConfigError(
                f"{key}: {name} is not a parameter of a synthetic scene "
                f"(known: {', '.join(_LIMITS)})"
            )
        convert, minimum, maximum = _LIMITS[name]
        try:
            value = convert(text)
        except ValueError:
            value = float("nan")
        if not minimum <= value <= maximum:
            kind = "a whole number" if convert is int else "a number"
            raise ConfigError(
                f"{key}: {name} must be {kind} between {minimum:.15g} and {maximum:.15g}, "
                f"got {text!r}"
            )
        values[name] = value
    return SceneSettings(**values)  # type: ignore[arg-type]


class SyntheticSource:
    """Renders a match, in real time or (lossless) as fast as the pictures are taken.

    In real time, a picture that could not be rendered before the next one was due is skipped and
    counted as ``behind``. With ``loop`` the scene restarts after its duration; presentation times
    continue.
    """

    deadline = None

    def __init__(self, settings: SceneSettings, url: str, *, paced: bool, loop: bool) -> None:
        self._settings = settings
        self._paced = paced
        self._loop = loop
        self.lossless = not paced
        self.redacted_url = url

    def run(self, output: SourceOutput, stop: threading.Event) -> None:
        """Deliver for the scene's duration, or until ``stop``."""
        settings = self._settings
        match = Match(
            settings.seed,
            settings.width,
            settings.height,
            settings.rate_hz,
            players=settings.players,
            occluders=settings.occluders,
            pace=settings.pace,
        )
        length = round(settings.duration_s * settings.rate_hz)
        start_time_ns, start_monotonic_ns = time.time_ns(), time.monotonic_ns()
        index = 0
        while not stop.is_set() and (not length or self._loop or index < length):
            media_ns = round(index * 1e9 / settings.rate_hz)
            if self._paced:
                ahead_ns = start_monotonic_ns + media_ns - time.monotonic_ns()
                missed = int(-ahead_ns * 1e-9 * settings.rate_hz)
                if missed > 0:
                    output.dropped(DropReason.BEHIND, missed)
                    index += missed
                    continue
                if stop.wait(max(0.0, ahead_ns / 1e9)):
                    return
            arrival_time_ns, arrival_monotonic_ns = time.time_ns(), time.monotonic_ns()
            image = match.render(index % length if length else index).image
            output.frame(
                DecodedFrame(
                    pixels=RgbPixels(image),
                    pts=media_ns // 1000,
                    time_base=_TIME_BASE,
                    capture_time_ns=start_time_ns + media_ns,
                    clock_source=ClockSource.SYNTHETIC,
                    arrival_time_ns=arrival_time_ns,
                    arrival_monotonic_ns=arrival_monotonic_ns,
                    decoded_monotonic_ns=time.monotonic_ns(),
                )
            )
            index += 1
