"""A line fitted over sender reports: the sender's clock as a function of media time.

Reports wobble with the sender's load, and its two clocks drift apart. The line averages over the
last reports, ignores outliers, and begins anew where the sender's clock was set.
"""

from __future__ import annotations

from collections import deque
from statistics import fmean, median, median_low
from typing import NamedTuple

# More frequent reports count together, by their median; so do late and repeated ones.
LEAST_SPACING_S = 0.7
# The sender's clock was set if this many reports in a row, over this time, agree on another time.
STEP_REPORTS = 3
STEP_AFTER_S = 8.0
# A report counts as on the line within this many times the usual change between reports.
_GATE = 4.0
_LEAST_GATE_S, _LARGEST_GATE_S = 0.05, 2.0
# Crystals are good to 100 ppm; a drift must exceed the reports' own noise.
_USUAL_DRIFT, _LARGEST_DRIFT = 200e-6, 1e-3
_LEAST_NOISE_S = 1e-4


class Report(NamedTuple):
    """The sender's clock, relative to media time, at a media time; in seconds."""

    media_s: float
    offset_s: float


class ReportLine:
    """The line. Bound: 16 reports on it, 16 off it, 32 in waiting; the oldest are dropped."""

    def __init__(self) -> None:
        self._waiting: deque[Report] = deque(maxlen=32)
        self._on_line: deque[Report] = deque(maxlen=16)
        self._off_line: deque[Report] = deque(maxlen=16)
        # Begins as if reports were exact: two outliers at the start are taken for outliers.
        self._changes_s: deque[float] = deque((0.0, 0.0, 0.0), maxlen=8)
        self._newest: Report | None = None
        self._mean = Report(0.0, 0.0)
        self._drift = 0.0

    def add(self, report: Report) -> bool:
        """Fit a report; False if it follows too soon and waits for others to count with."""
        self._waiting.append(report)
        newest = self._newest
        if newest is not None and report.media_s - newest.media_s < LEAST_SPACING_S:
            return False
        offset_s = median(each.offset_s for each in self._waiting)
        self._waiting.clear()
        report = Report(report.media_s, offset_s)
        gate_s = min(max(_GATE * self._noise_s, _LEAST_GATE_S), _LARGEST_GATE_S)
        if newest is not None:
            self._changes_s.append(abs(report.offset_s - newest.offset_s))
        self._newest = report
        if not self._on_line or abs(self._error_s(report)) <= gate_s:
            self._on_line.append(report)
            self._off_line.clear()
        else:
            self._off_line.append(report)
            if self._has_stepped(gate_s):
                self._on_line, self._off_line = self._off_line, self._on_line
                self._off_line.clear()
        self._fit()
        return True

    @property
    def drift(self) -> float:
        """Seconds that the sender's clock gains in a second of media time."""
        return self._drift

    def offset_s(self, media_s: float) -> float:
        """The sender's clock, relative to media time, at a media time."""
        return self._mean.offset_s + self._drift * (media_s - self._mean.media_s)

    @property
    def _noise_s(self) -> float:
        """The usual change between two reports; a step or an outlier does not affect it."""
        return median_low(self._changes_s)

    def _error_s(self, report: Report) -> float:
        return report.offset_s - self.offset_s(report.media_s)

    def _has_stepped(self, gate_s: float) -> bool:
        off = self._off_line
        errors_s = [self._error_s(report) for report in off]
        if max(errors_s) - min(errors_s) > 2 * gate_s:
            newest = off.pop()
            off.clear()
            off.append(newest)
        return len(off) >= STEP_REPORTS and off[-1].media_s - off[0].media_s >= STEP_AFTER_S

    def _fit(self) -> None:
        """Least squares, with the drift held near 0 as far as the noise explains it."""
        reports = self._on_line
        self._mean = Report(*(fmean(column) for column in zip(*reports, strict=True)))
        away = [(r.media_s - self._mean.media_s, r.offset_s - self._mean.offset_s) for r in reports]
        held = (max(self._noise_s, _LEAST_NOISE_S) / _USUAL_DRIFT) ** 2
        drift = sum(x * y for x, y in away) / (sum(x * x for x, _ in away) + held)
        self._drift = min(max(drift, -_LARGEST_DRIFT), _LARGEST_DRIFT)
