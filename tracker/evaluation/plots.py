"""Plots of an evaluation: success curve, reliability, scores by category; and of an ablation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tracker.evaluation.ablation_report import REFERENCE, Headline
from tracker.evaluation.box_measures import OVERLAP_THRESHOLDS
from tracker.evaluation.missing import MissingLibraryError
from tracker.evaluation.runner import ClipScore
from tracker.evaluation.summary import by_category, calibration_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INK = "#1f4e79"
LEAST_DIFFERENCE = 0.02


def require_matplotlib() -> None:
    """Raise MissingLibraryError, with the remedy, unless matplotlib is installed."""
    _pyplot()


def write_plots(scores: Sequence[ClipScore], directory: Path, title: str) -> list[Path]:
    """Write success.png, reliability.png and categories.png; returns those with data."""
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    boxes = [entry.box for score in scores for entry in score.objects if entry.box is not None]
    if boxes:
        curve = np.mean([box.success for box in boxes], axis=0)
        axes, path = _axes(directory / "success.png", f"{title}: success of boxes")
        axes.plot(OVERLAP_THRESHOLDS, curve, color=_INK, label=f"AUC {curve.mean():.3f}")
        axes.set(xlabel="overlap threshold", ylabel="fraction of frames", xlim=(0, 1), ylim=(0, 1))
        axes.legend()
        written.append(_save(axes, path))
    reliability = calibration_of(entry for score in scores for entry in score.objects)
    if reliability is not None:
        axes, path = _axes(directory / "reliability.png", f"{title}: predicted IoU")
        axes.plot([0, 1], [0, 1], color="grey", linestyle=":", label="as predicted")
        axes.bar(
            [each.low for each in reliability.bins],
            [each.actual for each in reliability.bins],
            width=0.095,
            align="edge",
            color=_INK,
            alpha=0.75,
            label=f"actual; expected error {reliability.error:.3f}",
        )
        for each in reliability.bins:
            axes.text(each.low + 0.05, 0.01, str(each.count), ha="center", fontsize=7, color="w")
        axes.set(xlabel="predicted IoU", ylabel="mean actual IoU", xlim=(0, 1), ylim=(0, 1))
        axes.legend(loc="upper left")
        written.append(_save(axes, path))
    values = {
        name: summary["mean"] if summary["mean"] is not None else summary["success_auc"]
        for name, summary in by_category(scores, identity=False).items()
    }
    bars = {name: value for name, value in values.items() if value is not None}
    axes, path = _axes(directory / "categories.png", f"{title}: J&F (boxes: success)")
    drawn = axes.bar(range(len(bars)), list(bars.values()), color=_INK)
    axes.bar_label(drawn, fmt="%.2f", fontsize=8)
    axes.set_xticks(range(len(bars)), list(bars), rotation=30, ha="right")
    # A single bar does not fill the width.
    axes.set(ylim=(0, 1), xlim=(-0.75, max(len(bars), 4) - 0.25))
    written.append(_save(axes, path))
    return written


def write_ablation_plot(lines: Sequence[Headline], path: Path, title: str) -> None:
    """One bar per row: its difference to the row "robust" in J&F (J&F without that row)."""
    reference = next((line.mean for line in lines if line.row == REFERENCE), None)
    shown = [line for line in lines if reference is None or line.row != REFERENCE]
    path.parent.mkdir(parents=True, exist_ok=True)
    axes, path = _axes(path, title)
    values = [line.mean - (reference or 0.0) for line in shown]
    drawn = axes.barh([line.row for line in shown], values, color=_INK)
    form = "%.3f" if reference is None else "%+.3f"
    axes.bar_label(drawn, labels=[form % value for value in values], fontsize=8, padding=3)
    # Room for the labels, and a minimum scale for small differences.
    widest = max([LEAST_DIFFERENCE, *map(abs, values)]) * 1.25
    axes.set_xlim(0.0 if reference is None else -widest, widest)
    axes.axvline(0.0, color="black", linewidth=0.8)
    axes.invert_yaxis()
    worse_better = f"J&F minus {REFERENCE}'s {reference or 0.0:.3f}   (left: worse, right: better)"
    axes.set(xlabel="J&F" if reference is None else worse_better)
    _save(axes, path)


def _axes(path: Path, title: str) -> tuple[Axes, Path]:
    _, axes = _pyplot().subplots(figsize=(7, 4.5), layout="constrained")
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)
    return axes, path


def _save(axes: Axes, path: Path) -> Path:
    figure: Any = axes.figure
    figure.savefig(path, dpi=110)
    _pyplot().close(figure)
    return path


def _pyplot() -> Any:
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise MissingLibraryError(
            f"plots need matplotlib: pip install 'masklet[evaluation]' ({error})"
        ) from error
    mpl.use("Agg")
    from matplotlib import pyplot

    return pyplot
