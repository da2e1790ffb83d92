"""The starter of one stream at work: looks, judges what was found, and prompts the tracker.

Runs on the event loop, beside the live path; a look is done in a thread of its own, one at a
time. A starter that raises, hangs or returns nonsense is reported and tried again later; the
stream does not feel it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Hashable
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from random import Random

from streamer.config.starters import StarterConfig
from streamer.config.streams import ReconnectConfig
from streamer.errors import MaskletError, StandsStillError
from streamer.inference.object_commands import ObjectCommands
from streamer.inference.prompts.request import PromptOutcome
from streamer.runtime.backoff import Backoff
from streamer.runtime.clock import (
    Clock,
    ns_to_seconds,
)
from streamer.runtime.logs import stream_logger
from streamer.runtime.metrics import Metrics
from streamer.runtime.redaction import redact
from streamer.runtime.threads import start_thread
from streamer.starters.detection import Detection, checked
from streamer.starters.geometry import iou, scaled
from streamer.starters.look_turns import LookTurns
from streamer.starters.looks import Look, Looks
from streamer.starters.make import shared_detector
from streamer.starters.policy import Decision, FrameFacts, StartPolicy, Verdict
from streamer.starters.prompting import Prompting, is_clear
from streamer.types import FrameResult

STARTER_THREAD_PREFIX = "starter-"
REJECTED_WAIT_S = 1.0
_BACKOFF = ReconnectConfig(initial_s=1.0, maximum_s=60.0, reset_after_s=0.0)
_logger = logging.getLogger(__name__)


class StarterStanding(StrEnum):
    """How a starter does."""

    WAITING = "waiting"  # for the first look
    LOOKING = "looking"
    STANDING_STILL = "standing_still"  # it cannot tell now
    FAILING = "failing"  # it raised, and is tried again
    STUCK = "stuck"  # it does not return


@dataclass(frozen=True, slots=True)
class StarterState:
    """What can be told of a stream's starter; the counts are since it began."""

    kind: str
    standing: StarterStanding
    reason: str | None
    looks: int
    started: int
    found: int
    object_ids: tuple[int, ...]


class StreamStarter:
    """One stream's starter. ``run`` is its task; ``see`` is told of every tracked frame."""

    def __init__(
        self,
        stream_id: str,
        config: StarterConfig,
        looks: Looks,
        policy: StartPolicy,
        *,
        turns: LookTurns,
        objects: ObjectCommands,
        metrics: Metrics,
        clock: Clock,
        random: Random,
    ) -> None:
        """``turns`` are those of all streams, and outlive this starter."""
        self.stream_id = stream_id
        self._config = config
        self._looks = looks
        self._policy = policy
        self._turns = turns
        self._metrics = metrics
        self._clock = clock
        self._random = random
        self._backoff = Backoff(_BACKOFF, random)
        self._log = stream_logger(_logger, stream_id)
        self._prompting = Prompting(stream_id, objects, config.label, self._log)
        self._standing = StarterStanding.WAITING
        self._reason: str | None = None
        self._looked = self._started = self._found = 0
        self._latest: FrameResult | None = None

    def see(self, result: FrameResult) -> None:
        """A frame was tracked."""
        self._latest = result
        self._looks.see(result)

    def state(self) -> StarterState:
        """How it does."""
        return StarterState(
            kind=self._config.kind,
            standing=self._standing,
            reason=self._reason,
            looks=self._looked,
            started=self._started,
            found=self._found,
            object_ids=tuple(sorted(self._policy.own)),
        )

    async def run(self) -> None:
        """Look until cancelled. A thread that is in a look then ends by itself."""
        while True:
            await self._looks.due()
            with await self._turn() as turn:
                look = self._looks.take()
                decision = None if look is None else await self._judged(look, turn)
            if look is None or decision is None:
                continue
            for verdict, count in decision.verdicts.items():
                self._count(verdict, count)
            await self._carry_out(decision, look.frame)

    # A look.

    async def _turn(self) -> ExitStack:
        """Wait until the look before has ended, also one that was begun with other settings."""
        whose: list[Hashable] = [self.stream_id]
        detector = shared_detector(self._config)
        if detector is not None:
            whose.append(detector)
        taking = asyncio.create_task(self._turns.take(*whose))
        timeout_s = self._config.timeout_s
        try:
            while not (await asyncio.wait({taking}, timeout=timeout_s))[0]:
                if self._turns.lasting_s(*whose) < timeout_s:
                    continue  # others have their turns
                if self._standing is not StarterStanding.STUCK:
                    self._looked_with("busy")
                reason = (
                    f"a look takes more than starter.timeout_s ({timeout_s:g} s) that this stream "
                    "began with other settings, or others in the same detector; nothing is "
                    "started until it ends"
                )
                self._is(StarterStanding.STUCK, reason)
        except asyncio.CancelledError:
            taking.cancel()
            taking.add_done_callback(_give_back)
            raise
        return taking.result()

    async def _judged(self, look: Look, turn: ExitStack) -> Decision | None:
        """What a look comes to; None if it came to nothing, which is told and waited for.

        ``turn`` is given back when the thread ends.
        """
        decisions: list[Decision] = []
        if look.is_slow:
            self._prompting.hold(look.frame)

        def judge() -> None:
            frame, found = look.find()
            found = checked(found, frame.height, frame.width)
            decisions.append(self._policy.decide(found, frame))

        began_ns = self._clock.monotonic_ns()
        ended = start_thread(f"{STARTER_THREAD_PREFIX}{self.stream_id}", judge)
        kept = turn.pop_all()

        def has_ended(future: asyncio.Future[None]) -> None:
            """Also where nobody waits any more, because the stream has ended meanwhile."""
            kept.close()
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
            await self._not_looked(error)
            return None
        self._looked += 1
        self._looked_with("looked")
        self._is(StarterStanding.LOOKING, None)
        self._backoff = Backoff(_BACKOFF, self._random)
        return decisions[0]

    async def _wait_for_stuck(self, ended: asyncio.Future[None]) -> None:
        """A second thread would only hang beside the first: wait, as long as it takes."""
        self._looked_with("timeout")
        reason = (
            f"a look takes more than starter.timeout_s ({self._config.timeout_s:g} s); nothing is "
            "started until it ends"
        )
        self._is(StarterStanding.STUCK, reason)
        await asyncio.wait({ended})
        self._policy.missed()
        self._looks.failed()

    async def _not_looked(self, error: BaseException) -> None:
        self._policy.missed()
        if isinstance(error, StandsStillError):
            self._looked_with("standing_still")
            self._is(StarterStanding.STANDING_STILL, str(error))
            return
        self._looks.failed()
        self._looked_with("failed")
        # What is no error of ours is a mistake in somebody's starter, or in a library under it.
        is_ours = isinstance(error, MaskletError)
        reason = redact(str(error) if is_ours else f"{type(error).__name__}: {error}")
        if self._is(StarterStanding.FAILING, reason) and not is_ours:
            self._log.error("the starter raised", exc_info=error)
        await asyncio.sleep(self._backoff.next_delay_s(0.0))

    def _is(self, standing: StarterStanding, reason: str | None) -> bool:
        """Take in how it does, telling what is new; whether it is another state."""
        changed = standing is not self._standing
        self._standing, self._reason = standing, reason
        if changed and standing in (StarterStanding.FAILING, StarterStanding.STUCK):
            self._log.warning("the starter (%s) starts nothing: %s", self._config.kind, reason)
        elif changed:
            self._log.info(
                "the starter (%s) is %s%s",
                self._config.kind,
                standing,
                f": {reason}" * bool(reason),
            )
        return changed

    # What comes of it.

    async def _carry_out(self, decision: Decision, frame: FrameFacts) -> None:
        followed = self._prompting.followed()  # without what somebody removed since that frame
        for object_id in followed.intersection(decision.removals):
            await self._prompting.remove(
                object_id, "out of sight for long, or another object as well"
            )
        finds = [each for each in decision.finds if each[0] in followed]
        starts = [each for each in decision.starts if not self._is_followed_meanwhile(each, frame)]
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
                self._looks.only_after(outcome.latest_frame_index)
        if any(outcome is None or not outcome.applied for outcome in outcomes):
            # The tracker is full or busy, and each refusal is an event that somebody reads.
            await asyncio.sleep(REJECTED_WAIT_S)

    def _is_followed_meanwhile(self, detection: Detection, frame: FrameFacts) -> bool:
        """Whether it was prompted, or came back by itself, since the frame that was looked at."""
        if self._latest is None:
            return False
        now = self._latest.frame.picture.pixels  # maybe of another size than then
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
                outcome.object_id, "the tracker finds something else there"
            )

    def _count(self, verdict: Verdict, count: int = 1) -> None:
        self._metrics.starter_detections.labels(self.stream_id, verdict).inc(count)

    def _looked_with(self, result: str) -> None:
        self._metrics.starter_looks.labels(self.stream_id, result).inc()


def _give_back(taking: asyncio.Task[ExitStack]) -> None:
    """Of a turn that came in the moment in which nobody wanted it any more."""
    if not taking.cancelled():
        taking.result().close()
