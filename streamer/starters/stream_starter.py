"""The starter of one stream: runs detection passes, judges the detections, prompts the tracker.

Runs on the event loop, beside the live path; a pass runs in a thread of its own, one at a time. A
detector that raises, hangs or returns nonsense is reported and tried again later; the stream is
not affected.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Hashable
from contextlib import ExitStack
from random import Random

from streamer.config.starters import StarterConfig
from streamer.config.streams import ReconnectConfig
from streamer.errors import DetectorNotReady, MaskletError
from streamer.inference.object_commands import ObjectCommands
from streamer.inference.prompts.request import PromptOutcome
from streamer.runtime.backoff import Backoff
from streamer.runtime.clock import Clock, ns_to_seconds
from streamer.runtime.logs import stream_logger
from streamer.runtime.metrics import Metrics
from streamer.runtime.redaction import redact
from streamer.runtime.threads import start_thread
from streamer.starters.detection_passes import DetectionPass, DetectionPasses
from streamer.starters.detector import checked
from streamer.starters.detector_lock import DetectorLock
from streamer.starters.geometry import iou, scaled
from streamer.starters.make_detector import shared_detector
from streamer.starters.policy import FrameFacts, StartDecision, StartPolicy, Verdict
from streamer.starters.prompting import Prompting, is_clear
from streamer.starters.starter_state import DetectorStatus, StarterState
from streamer.types import Detection, FrameResult

STARTER_THREAD_PREFIX = "starter-"
REJECTED_WAIT_S = 1.0
_BACKOFF = ReconnectConfig(initial_s=1.0, maximum_s=60.0, reset_after_s=0.0)
_logger = logging.getLogger(__name__)


class StreamStarter:
    """One stream's starter. ``run`` is its task; ``see`` takes every tracked frame."""

    def __init__(
        self,
        stream_id: str,
        config: StarterConfig,
        passes: DetectionPasses,
        policy: StartPolicy,
        *,
        lock: DetectorLock,
        objects: ObjectCommands,
        metrics: Metrics,
        clock: Clock,
        random: Random,
    ) -> None:
        """``lock`` is shared by all streams, and outlives this starter."""
        self.stream_id = stream_id
        self._config = config
        self._passes = passes
        self._policy = policy
        self._lock = lock
        self._metrics = metrics
        self._clock = clock
        self._random = random
        self._backoff = Backoff(_BACKOFF, random)
        self._log = stream_logger(_logger, stream_id)
        self._prompting = Prompting(stream_id, objects, config.label, self._log)
        self._status = DetectorStatus.WAITING
        self._reason: str | None = None
        self._passed = self._started = self._found = 0
        self._latest: FrameResult | None = None

    def see(self, result: FrameResult) -> None:
        """Note a tracked frame."""
        self._latest = result
        self._passes.see(result)

    def state(self) -> StarterState:
        """The state now."""
        return StarterState(
            kind=self._config.kind,
            status=self._status,
            reason=self._reason,
            passes=self._passed,
            started=self._started,
            found=self._found,
            object_ids=tuple(sorted(self._policy.own)),
        )

    async def run(self) -> None:
        """Run passes until cancelled; the thread of a running pass then ends by itself."""
        while True:
            await self._passes.due()
            with await self._locked() as lock:
                detection_pass = self._passes.take()
                decision = (
                    None if detection_pass is None else await self._judged(detection_pass, lock)
                )
            if detection_pass is None or decision is None:
                continue
            for verdict, count in decision.verdicts.items():
                self._count(verdict, count)
            await self._carry_out(decision, detection_pass.frame)

    # A pass.

    async def _locked(self) -> ExitStack:
        """Wait until the previous pass has ended, also one that began with other settings."""
        keys: list[Hashable] = [self.stream_id]
        detector = shared_detector(self._config)
        if detector is not None:
            keys.append(detector)
        acquiring = asyncio.create_task(self._lock.acquire(*keys))
        timeout_s = self._config.timeout_s
        try:
            while not (await asyncio.wait({acquiring}, timeout=timeout_s))[0]:
                if self._lock.blocked_s(*keys) < timeout_s:
                    continue  # others use the detector in turn
                if self._status is not DetectorStatus.STUCK:
                    self._count_pass("busy")
                reason = (
                    f"a pass that this stream began with other settings, or another stream in the "
                    f"same detector, takes longer than starter.timeout_s ({timeout_s:g} s); "
                    "nothing is started until it ends"
                )
                self._set(DetectorStatus.STUCK, reason)
        except asyncio.CancelledError:
            acquiring.cancel()
            acquiring.add_done_callback(_release)
            raise
        return acquiring.result()

    async def _judged(self, detection_pass: DetectionPass, lock: ExitStack) -> StartDecision | None:
        """Run a pass and judge it; None if it failed, which is reported and waited for.

        ``lock`` is released when the thread ends.
        """
        decisions: list[StartDecision] = []
        if detection_pass.is_slow:
            self._prompting.hold(detection_pass.frame)

        def judge() -> None:
            frame, found = detection_pass.find()
            found = checked(found, frame.height, frame.width)
            decisions.append(self._policy.decide(found, frame))

        began_ns = self._clock.monotonic_ns()
        ended = start_thread(f"{STARTER_THREAD_PREFIX}{self.stream_id}", judge)
        held = lock.pop_all()

        def has_ended(future: asyncio.Future[None]) -> None:
            """Also when nothing waits any more, because the stream has ended meanwhile."""
            held.close()
            if not future.cancelled():
                future.exception()

        ended.add_done_callback(has_ended)
        await asyncio.wait({ended}, timeout=self._config.timeout_s)
        if not ended.done():
            await self._wait_for_stuck(ended)
            return None
        self._metrics.starter_look_seconds.observe(
            ns_to_seconds(self._clock.monotonic_ns() - began_ns)
        )
        error = ended.exception()
        if error is not None:
            await self._failed(error)
            return None
        self._passed += 1
        self._count_pass("looked")
        self._set(DetectorStatus.LOOKING, None)
        self._backoff = Backoff(_BACKOFF, self._random)
        return decisions[0]

    async def _wait_for_stuck(self, ended: asyncio.Future[None]) -> None:
        """Wait for as long as it takes: a second thread would only hang beside the first."""
        self._count_pass("timeout")
        reason = (
            f"a pass takes longer than starter.timeout_s ({self._config.timeout_s:g} s); nothing "
            "is started until it ends"
        )
        self._set(DetectorStatus.STUCK, reason)
        await asyncio.wait({ended})
        self._policy.missed()
        self._passes.failed()

    async def _failed(self, error: BaseException) -> None:
        self._policy.missed()
        if isinstance(error, DetectorNotReady):
            self._count_pass("standing_still")
            self._set(DetectorStatus.STANDING_STILL, str(error))
            return
        self._passes.failed()
        self._count_pass("failed")
        # Any other error is a mistake in the user's detector, or in a library under it.
        is_ours = isinstance(error, MaskletError)
        reason = redact(str(error) if is_ours else f"{type(error).__name__}: {error}")
        if self._set(DetectorStatus.FAILING, reason) and not is_ours:
            self._log.error("the detector raised", exc_info=error)
        await asyncio.sleep(self._backoff.next_delay_s(0.0))

    def _set(self, status: DetectorStatus, reason: str | None) -> bool:
        """Set the status, log a change of it; whether it changed."""
        changed = status is not self._status
        self._status, self._reason = status, reason
        if changed and status in (DetectorStatus.FAILING, DetectorStatus.STUCK):
            self._log.warning("the starter (%s) starts nothing: %s", self._config.kind, reason)
        elif changed:
            self._log.info(
                "the starter (%s) is %s%s",
                self._config.kind,
                status,
                f": {reason}" * bool(reason),
            )
        return changed

    # Its consequences.

    async def _carry_out(self, decision: StartDecision, frame: FrameFacts) -> None:
        tracked = self._prompting.tracked()  # without what was removed since that frame
        for object_id in tracked.intersection(decision.removals):
            await self._prompting.remove(
                object_id, "hidden for too long, or a duplicate of another object"
            )
        finds = [each for each in decision.finds if each[0] in tracked]
        starts = [each for each in decision.starts if not self._is_tracked_meanwhile(each, frame)]
        self._count(Verdict.FOLLOWED, len(decision.starts) - len(starts))
        found = await self._prompting.prompt([each for _, each in finds], frame, finds)
        begun = await self._prompting.prompt(starts, frame)
        for detection, outcome in found:
            self._judge_find(detection, outcome)
        for detection, outcome in begun:
            await self._judge_start(detection, outcome, frame)
        outcomes = [outcome for _, outcome in (*found, *begun)]
        for outcome in outcomes:
            if outcome is not None and outcome.latest_frame_index is not None:
                self._passes.only_after(outcome.latest_frame_index)
        if any(outcome is None or not outcome.applied for outcome in outcomes):
            # The tracker is full or busy, and each refusal publishes an event.
            await asyncio.sleep(REJECTED_WAIT_S)

    def _is_tracked_meanwhile(self, detection: Detection, frame: FrameFacts) -> bool:
        """Whether it was prompted, or reappeared by itself, since the frame of the pass."""
        if self._latest is None:
            return False
        now = self._latest.frame.picture.pixels  # possibly of another size
        box = scaled(detection.box_xyxy, now.width / frame.width, now.height / frame.height)
        seen_then = {each.track.object_id for each in frame.objects if each.track.area > 0}
        return any(
            each.track.object_id not in seen_then
            and iou(each.track.box_xyxy, box) >= self._config.match_iou
            for each in self._latest.objects
        )

    def _judge_find(self, detection: Detection, outcome: PromptOutcome | None) -> None:
        if outcome is None or not outcome.applied:
            self._count(Verdict.REJECTED)
        elif is_clear(outcome, detection):
            self._found += 1
            self._count(Verdict.FOUND)
            self._log.info("object %d was lost and is found again", outcome.object_id)
        else:
            self._count(Verdict.UNCLEAR)

    async def _judge_start(
        self, detection: Detection, outcome: PromptOutcome | None, frame: FrameFacts
    ) -> None:
        if outcome is None or not outcome.applied:
            self._count(Verdict.REJECTED)
        elif is_clear(outcome, detection):
            self._started += 1
            self._count(Verdict.STARTED)
            self._policy.started(outcome.object_id, detection)
        else:
            self._count(Verdict.UNCLEAR)
            self._policy.unclear(detection, frame.time_ns)
            await self._prompting.remove(
                outcome.object_id, "the tracker segmented something else there"
            )

    def _count(self, verdict: Verdict, count: int = 1) -> None:
        self._metrics.starter_detections.labels(self.stream_id, verdict).inc(count)

    def _count_pass(self, result: str) -> None:
        self._metrics.starter_looks.labels(self.stream_id, result).inc()


def _release(acquiring: asyncio.Task[ExitStack]) -> None:
    """Release locks that were acquired at the very moment of the cancellation."""
    if not acquiring.cancelled():
        acquiring.result().close()
