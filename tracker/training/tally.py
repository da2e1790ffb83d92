"""Means over training steps, between two records of the log."""

from __future__ import annotations

from tracker.training import history
from tracker.training.unroll import ClipResult


class Tally:
    """Sums between two records."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    def add(
        self,
        result: ClipResult,
        loss: float,
        rate: float,
        data_s: float,
        norm: float,
        step_s: float,
    ) -> None:
        """Add one step that took ``step_s``, of which ``data_s`` for its clips."""
        self._put("loss", loss)
        self._put("learning_rate", rate)
        self._put("data_s", data_s)
        self._put("gradient_norm", norm)
        self._put("step_s", step_s)
        if result.first is not None:
            self._put("prompted_iou", float(result.first.iou))
            self._put("occlusion_loss", float(result.first.score))
        for frame in result.tracked:
            self._put("tracked_iou", float(frame.iou))
            self._put("occlusion_loss", float(frame.score))
        if result.tracked:
            self._put("last_frame_iou", float(result.tracked[-1].iou))

    def record(self, step: int, phase: str, elapsed_s: float) -> history.Record:
        """The means; resets the sums."""
        means = {name: value / self._counts[name] for name, value in self._sums.items()}
        self._sums, self._counts = {}, {}
        return history.Record(
            step=step,
            phase=phase,
            loss=round(means["loss"], 4),
            prompted_iou=round(means.get("prompted_iou", -1.0), 4),
            tracked_iou=round(means.get("tracked_iou", -1.0), 4),
            last_frame_iou=round(means.get("last_frame_iou", -1.0), 4),
            occlusion_loss=round(means.get("occlusion_loss", -1.0), 4),
            learning_rate=round(means["learning_rate"], 7),
            step_s=round(means["step_s"], 3),
            data_s=round(means["data_s"], 3),
            gradient_norm=round(means["gradient_norm"], 3),
            elapsed_s=round(elapsed_s, 1),
        )

    def _put(self, name: str, value: float) -> None:
        self._sums[name] = self._sums.get(name, 0.0) + value
        self._counts[name] = self._counts.get(name, 0) + 1
