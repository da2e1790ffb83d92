"""Counting what a consumer lost, from the numbers of the messages it received. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from streamer.wire.messages import Header, Origin, StatusMessage, Topic, TopicKind


@dataclass(frozen=True, slots=True)
class Gap:
    """Messages of one topic that never arrived: ``count`` of them, from ``first_seq`` on."""

    topic: str
    first_seq: int
    count: int


@dataclass(frozen=True, slots=True)
class Arrival:
    """What a message's number says: what is missing before it, and whether it is new.

    ``restarted``: the publisher was started again since the message before.
    """

    gaps: tuple[Gap, ...] = ()
    is_duplicate: bool = False
    restarted: bool = False


class SequenceTracker:
    """Knows the next number expected of every topic, and counts the holes.

    What was sent before the first message of a topic is not counted as lost: the consumer was
    not there. After a restart of the publisher it was, and numbers begin at 0: what is missing
    from there on counts. Replayed messages that were seen already are duplicates.
    Bound: one number a topic of the publisher's current epoch.
    """

    def __init__(self) -> None:
        self._origin: Origin | None = None
        self._known_from_start: set[str] = set()
        self._expected: dict[str, int] = {}
        self.lost: dict[str, int] = {}
        self.restarts = 0

    def observe(self, topic: Topic, header: Header) -> Arrival:
        """Take in one message, in the order of arrival."""
        restarted = self._notice_origin(Origin(header.publisher_id, header.epoch))
        name = str(topic)
        expected = self._expected.get(name)
        if expected is None:
            expected = 0 if name in self._known_from_start else header.seq
        if header.seq < expected:
            return Arrival(is_duplicate=True, restarted=restarted)
        gaps = self._gap(name, expected, header.seq)
        self._expected[name] = header.seq + 1
        if isinstance(header, StatusMessage) and not header.replayed:
            gaps += self._compare(header.stream_id, header.next_seq)
        return Arrival(gaps=gaps, restarted=restarted)

    def _notice_origin(self, origin: Origin) -> bool:
        if origin == self._origin:
            return False
        restarted = self._origin is not None
        self._origin = origin
        if restarted:
            self.restarts += 1
            self._known_from_start = set(self._expected)
            self._expected.clear()
        return restarted

    def _compare(self, stream_id: str, next_seq: Mapping[str, int]) -> tuple[Gap, ...]:
        """A status says which numbers were sent before it: all of them should be here."""
        gaps: tuple[Gap, ...] = ()
        for kind, sent in next_seq.items():
            if kind not in set(TopicKind):
                continue
            name = str(Topic(TopicKind(kind), stream_id))
            expected = self._expected.get(name)
            if expected is not None and expected < sent:
                gaps += self._gap(name, expected, sent)
                self._expected[name] = sent
        return gaps

    def _gap(self, name: str, expected: int, seq: int) -> tuple[Gap, ...]:
        if seq <= expected:
            return ()
        self.lost[name] = self.lost.get(name, 0) + seq - expected
        return (Gap(name, expected, seq - expected),)
