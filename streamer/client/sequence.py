"""Counting what a consumer lost, from the numbers of the messages it received. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from streamer.wire.messages import Header, Origin, StatusMessage, Topic, TopicKind

# Of consumers of a fleet: more than it has workers at a time.
PUBLISHERS_KEPT = 1024


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


@dataclass(slots=True)
class _Publisher:
    """One epoch of a publisher; the topics it had before a restart are known from their start."""

    known_from_start: frozenset[str]
    expected: dict[str, int] = field(default_factory=dict)


class SequenceTracker:
    """Knows the next number expected of every topic of every publisher, and counts the holes.

    A connection has one publisher, or through a fleet's gateway one for each worker. What a
    publisher sent before its first message of a topic is not counted as lost: the consumer was
    not there. After a restart of the publisher it was, and numbers begin at 0: what is missing
    from there on counts. Replayed messages that were seen already are duplicates.
    Bound: one number a topic, of ``PUBLISHERS_KEPT`` epochs and at most two of each publisher: the
    one that ends and the one that begins. Policy: the epoch silent for longest is forgotten.
    """

    def __init__(self) -> None:
        self._publishers: dict[Origin, _Publisher] = {}
        self.lost: dict[str, int] = {}
        self.restarts = 0

    def observe(self, topic: Topic, header: Header) -> Arrival:
        """Take in one message, in the order of arrival."""
        origin = Origin(header.publisher_id, header.epoch)
        publisher = self._publishers.pop(origin, None)
        restarted = False
        if publisher is None:
            publisher, restarted = self._new_epoch(origin)
        self._publishers[origin] = publisher  # the last one now
        name = str(topic)
        expected = publisher.expected.get(name)
        if expected is None:
            expected = 0 if name in publisher.known_from_start else header.seq
        if header.seq < expected:
            return Arrival(is_duplicate=True, restarted=restarted)
        gaps = self._gap(name, expected, header.seq)
        publisher.expected[name] = header.seq + 1
        if isinstance(header, StatusMessage) and not header.replayed:
            gaps += self._compare(publisher, header.stream_id, header.next_seq)
        return Arrival(gaps=gaps, restarted=restarted)

    def _new_epoch(self, origin: Origin) -> tuple[_Publisher, bool]:
        """A publisher's first message, and whether it was known before."""
        earlier = [each for each in self._publishers if each.publisher_id == origin.publisher_id]
        known = self._publishers[earlier[-1]].expected if earlier else ()
        for each in earlier[:-1]:
            del self._publishers[each]
        if len(self._publishers) >= PUBLISHERS_KEPT:
            del self._publishers[next(iter(self._publishers))]
        self.restarts += bool(earlier)
        return _Publisher(frozenset(known)), bool(earlier)

    def _compare(
        self, publisher: _Publisher, stream_id: str, next_seq: Mapping[str, int]
    ) -> tuple[Gap, ...]:
        """A status says which numbers were sent before it: all of them should be here."""
        gaps: tuple[Gap, ...] = ()
        for kind, sent in next_seq.items():
            if kind not in set(TopicKind):
                continue
            name = str(Topic(TopicKind(kind), stream_id))
            expected = publisher.expected.get(name)
            if expected is not None and expected < sent:
                gaps += self._gap(name, expected, sent)
                publisher.expected[name] = sent
        return gaps

    def _gap(self, name: str, expected: int, seq: int) -> tuple[Gap, ...]:
        if seq <= expected:
            return ()
        self.lost[name] = self.lost.get(name, 0) + seq - expected
        return (Gap(name, expected, seq - expected),)
