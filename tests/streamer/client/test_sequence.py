"""Losses counted from sequence numbers, without sockets."""

from __future__ import annotations

from streamer.client.sequence import PUBLISHERS_KEPT, Arrival, Gap, SequenceTracker
from streamer.wire.codec import EventMessage, Origin, StatusMessage, Topic, TopicKind

EVENTS = Topic(TopicKind.EVENT, "gate")
FIRST, SECOND = Origin("p", 1), Origin("p", 2)


def event(seq: int, origin: Origin = FIRST, replayed: bool = False) -> EventMessage:
    return EventMessage(
        schema="masklet/1",
        publisher_id=origin.publisher_id,
        epoch=origin.epoch,
        seq=seq,
        replayed=replayed,
        stream_id="gate",
        kind="added",
        time_ns=0,
    )


def status(seq: int, next_seq: dict[str, int], replayed: bool = False) -> StatusMessage:
    return StatusMessage(
        schema="masklet/1",
        publisher_id=FIRST.publisher_id,
        epoch=FIRST.epoch,
        seq=seq,
        replayed=replayed,
        stream_id="gate",
        state="live",
        time_ns=0,
        url="",
        width=0,
        height=0,
        frames_decoded=0,
        frames_tracked=0,
        frames_dropped={},
        connect_failures=0,
        object_ids=[],
        next_seq=next_seq,
    )


def test_sequence_without_gaps_loses_nothing() -> None:
    tracker = SequenceTracker()
    assert [tracker.observe(EVENTS, event(seq)) for seq in range(5)] == [Arrival()] * 5
    assert tracker.lost == {}


def test_messages_before_the_first_one_are_not_lost() -> None:
    tracker = SequenceTracker()
    assert tracker.observe(EVENTS, event(100)) == Arrival()
    assert tracker.lost == {}


def test_gap_is_counted_and_reported() -> None:
    tracker = SequenceTracker()
    tracker.observe(EVENTS, event(4))
    assert tracker.observe(EVENTS, event(8)).gaps == (Gap("v1/event/gate/", 5, 3),)
    assert tracker.observe(EVENTS, event(9)).gaps == ()
    assert tracker.lost == {"v1/event/gate/": 3}


def test_topics_are_counted_separately() -> None:
    tracker = SequenceTracker()
    tracker.observe(EVENTS, event(4))
    assert tracker.observe(Topic(TopicKind.EVENT, "yard"), event(9)) == Arrival()


def test_message_replayed_for_other_subscribers_is_a_duplicate() -> None:
    tracker = SequenceTracker()
    tracker.observe(EVENTS, event(4))
    assert tracker.observe(EVENTS, event(4, replayed=True)).is_duplicate
    assert tracker.observe(EVENTS, event(5)) == Arrival()


def test_restart_is_noticed_and_messages_missed_meanwhile_count() -> None:
    tracker = SequenceTracker()
    tracker.observe(EVENTS, event(40))
    arrival = tracker.observe(EVENTS, event(2, SECOND))
    assert arrival.restarted
    assert arrival.gaps == (Gap("v1/event/gate/", 0, 2),)
    assert tracker.restarts == 1
    assert not tracker.observe(EVENTS, event(3, SECOND)).restarted


def test_a_status_shows_that_the_last_message_of_a_silent_topic_was_lost() -> None:
    tracker = SequenceTracker()
    tracker.observe(EVENTS, event(4))
    topic = Topic(TopicKind.STATUS, "gate")
    lost = (Gap("v1/event/gate/", 5, 2),)
    # "frame" is not subscribed to, "mood" is of a later version: both say nothing.
    next_seq = {"event": 7, "frame": 90, "mood": 1}
    assert tracker.observe(topic, status(0, next_seq)).gaps == lost
    assert tracker.observe(EVENTS, event(7)) == Arrival()


def test_a_replayed_status_is_older_than_what_follows_it() -> None:
    tracker = SequenceTracker()
    tracker.observe(EVENTS, event(4))
    tracker.observe(Topic(TopicKind.STATUS, "gate"), status(0, {"event": 7}, replayed=True))
    assert tracker.lost == {}


WORKER, OTHER = Origin("worker-1", 7), Origin("worker-2", 5)


def test_publishers_behind_one_gateway_are_counted_apart() -> None:
    tracker = SequenceTracker()
    for seq in range(3):
        assert tracker.observe(EVENTS, event(40 + seq, WORKER)) == Arrival()
        assert tracker.observe(Topic(TopicKind.EVENT, "yard"), event(seq, OTHER)) == Arrival()
    lost = Gap("v1/event/gate/", 43, 2)
    assert tracker.observe(EVENTS, event(45, WORKER)).gaps == (lost,)
    assert tracker.restarts == 0


def test_a_stream_that_moves_to_another_worker_has_that_workers_numbers() -> None:
    tracker = SequenceTracker()
    tracker.observe(EVENTS, event(40, WORKER))
    # It was there before this consumer came, and its numbers outlive it.
    assert tracker.observe(EVENTS, event(500, OTHER)) == Arrival()
    assert tracker.observe(EVENTS, event(502, OTHER)).gaps == (Gap("v1/event/gate/", 501, 1),)
    assert tracker.observe(EVENTS, event(41, WORKER)) == Arrival()
    assert tracker.restarts == 0


def test_last_words_of_an_epoch_that_ends_are_no_second_restart() -> None:
    tracker = SequenceTracker()
    tracker.observe(EVENTS, event(40))
    assert tracker.observe(EVENTS, event(0, SECOND)).restarted
    assert tracker.observe(EVENTS, event(41)) == Arrival()
    assert tracker.observe(EVENTS, event(1, SECOND)) == Arrival()
    assert tracker.restarts == 1
    assert tracker.lost == {}


def test_workers_and_epochs_that_come_and_go_take_no_more_memory() -> None:
    tracker = SequenceTracker()
    for number in range(2 * PUBLISHERS_KEPT):
        tracker.observe(EVENTS, event(0, Origin(f"worker-{number}", 1)))
        tracker.observe(EVENTS, event(number, Origin("steady", 1)))
        tracker.observe(EVENTS, event(0, Origin("restless", number)))
    assert len(tracker._publishers) <= PUBLISHERS_KEPT
    assert sum(each.publisher_id == "restless" for each in tracker._publishers) == 2
    assert tracker.lost == {}
