"""The goals of a device and what was measured, in one table, with the limit of its arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.results import Result

Results = Mapping[str, Mapping[str, Result]]
"""By part, then by key."""

# Operations of a step, multiplications and additions, at 1024² with full memories
# (docs/benchmarks.md): of the image encoder, and of each object.
_ENCODER_GFLOP = {"tiny": 292, "large": 1823}
_OBJECT_GFLOP = 621


@dataclass(frozen=True, slots=True)
class Goal:
    """``of`` finds the figure for a policy, None if it was not measured; ``limit`` in TFLOP/s."""

    name: str
    target: float
    of: Callable[[Results, str], float | None]
    at_least: bool = True
    limit: Callable[[float], float] | None = None
    unit: str = ""

    def is_reached(self, figure: float) -> bool:
        """Whether a figure is as good as wanted."""
        return figure >= self.target if self.at_least else figure <= self.target


def _cell(objects: int, streams: int, size: str = "tiny") -> Callable[[Results, str], Result]:
    def found(results: Results, policy: str) -> Result:
        name = f"{size} {policy} {objects} objects {streams} streams"
        return results.get("steps", {}).get(name, {})

    return found


def _median(cell: Result, way: str) -> float | None:
    own = cell.get(way)
    return None if own is None else float(own["median_ms"])


def _rate(
    way: str, objects: int = 1, streams: int = 1, size: str = "tiny"
) -> Callable[[Results, str], float | None]:
    """Frames of all streams a second."""

    def of(results: Results, policy: str) -> float | None:
        ms = _median(_cell(objects, streams, size)(results, policy), way)
        return None if ms is None else streams * 1000 / ms

    return of


def _limit_ms(tflops: float, objects: int, streams: int, size: str = "tiny") -> float:
    return (streams * _ENCODER_GFLOP[size] + objects * _OBJECT_GFLOP) / tflops


def _limit_rate(objects: int = 1, streams: int = 1, size: str = "tiny") -> Callable[[float], float]:
    return lambda tflops: streams * 1000 / _limit_ms(tflops, objects, streams, size)


def _host(objects: int) -> Callable[[Results, str], float | None]:
    return lambda results, policy: _median(_cell(objects, 1)(results, policy), "host")


def _further(results: Results, policy: str) -> float | None:
    one, many = (_median(_cell(n, 1)(results, policy), "prepared") for n in (1, 16))
    return None if one is None or many is None else (many - one) / 15


def _evenness(results: Results, policy: str) -> float | None:
    own = _cell(1, 1)(results, policy).get("prepared")
    return None if own is None else own["p99_ms"] / own["median_ms"]


def _times_official(results: Results, policy: str) -> float | None:
    theirs = results.get("rivals", {}).get("official-compiled tiny-1024-1-1", {}).get("device")
    ours = _median(_cell(1, 1)(results, policy), "prepared")
    return None if theirs is None or ours is None else theirs["median_ms"] / ours


def _warm_up(results: Results, policy: str) -> float | None:
    return results.get("steps", {}).get(f"tiny {policy} warm-up", {}).get("seconds")


def _in_service(results: Results, policy: str) -> float | None:
    cells = [cell for key, cell in results.get("steps", {}).items() if f" {policy} " in key]
    return max((cell["in_service"] for cell in cells if "in_service" in cell), default=None)


def _iou(results: Results, policy: str) -> float | None:
    return results.get("checks", {}).get(f"nano {policy}", {}).get("mean_iou")


def _latency(results: Results, policy: str) -> float | None:
    """Of the default policy, which the daemon runs with."""
    cells = results.get("daemon", {}).get("bench", {}).get("cells", [])
    own = [cell["latency_p99_ms"] for cell in cells if cell["streams"] == 8]
    return own[0] if own and policy == "robust" else None


GOALS = (
    Goal("nano: IoU with the processor's masks", 0.995, _iou),
    Goal("tiny, 1 object", 250, _rate("prepared"), limit=_limit_rate(), unit="/s"),
    Goal("the same, submitted ahead", 400, _rate("ahead"), limit=_limit_rate(), unit="/s"),
    Goal("times Meta's compiled predictor", 2, _times_official),
    Goal(
        "large, 1 object", 110, _rate("prepared", size="large"),
        limit=_limit_rate(size="large"), unit="/s",
    ),
    Goal("tiny, 16 objects", 45, _rate("prepared", 16), limit=_limit_rate(16), unit="/s"),
    Goal(
        "each further object", 1.3, _further, at_least=False,
        limit=lambda tflops: _OBJECT_GFLOP / tflops, unit=" ms",
    ),
    Goal(
        "16 streams of 1 object, frames", 400, _rate("ahead", 16, 16),
        limit=_limit_rate(16, 16), unit="/s",
    ),
    Goal("p99 / p50 of a step", 1.2, _evenness, at_least=False),
    Goal("host, 1 object", 1.0, _host(1), at_least=False, unit=" ms"),
    Goal("host, 16 objects", 2.0, _host(16), at_least=False, unit=" ms"),
    Goal("warm-up, first start", 60, _warm_up, at_least=False, unit=" s"),
    Goal("shapes first seen in service", 0, _in_service, at_least=False),
    Goal("capture to subscriber, p99, 8 streams", 20, _latency, at_least=False, unit=" ms"),
)  # fmt: skip


def table(results: Results) -> str:
    """One row for each goal, as markdown."""
    product = results.get("machine", {}).get("product", {}).get("tflops")
    lines = [
        "| | goal | robust | sam2 | limit of the arithmetic here |",
        "|---|---|---|---|---|",
    ]
    for goal in GOALS:
        sign = "≥" if goal.at_least else "≤"
        limit = (
            "–" if goal.limit is None or not product else f"{goal.limit(product):.3g}{goal.unit}"
        )
        figures = [_shown(goal, goal.of(results, policy)) for policy in ("robust", "sam2")]
        lines.append(
            f"| {goal.name} | {sign} {goal.target:g}{goal.unit} | {' | '.join(figures)} | {limit} |"
        )
    return "\n".join(lines) + "\n"


def _shown(goal: Goal, figure: float | None) -> str:
    if figure is None:
        return "not measured"
    mark = "✓" if goal.is_reached(figure) else "✗"
    return f"{figure:.4g}{goal.unit} {mark}"
