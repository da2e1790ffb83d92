"""The topics that have subscribers, as the XPUB socket reports them."""

from __future__ import annotations

from streamer.wire.messages import TOPIC_PREFIX

_SUBSCRIBE = 1
_UNSUBSCRIBE = 0


class Subscriptions:
    """The prefixes that at least one consumer subscribed to.

    Bound: ``MAXIMUM`` prefixes; prefixes that no topic of ours begins with are not kept. Past
    the bound everything counts as wanted, so that no subscriber misses anything.
    """

    MAXIMUM = 4096

    def __init__(self) -> None:
        self._prefixes: set[bytes] = set()
        self._wanted: dict[bytes, bool] = {}

    def __len__(self) -> int:
        return len(self._prefixes)

    def take(self, notice: bytes) -> bytes | None:
        """Process a message that XPUB received; the prefix if it is a subscription, else None.

        The same prefix comes again for every consumer that subscribes, but is withdrawn once
        only, when the last one is gone (XPUB_VERBOSE). Anything else a peer sent is ignored.
        """
        if not notice:
            return None
        kind, prefix = notice[0], notice[1:]
        if kind == _UNSUBSCRIBE:
            self._prefixes.discard(prefix)
            self._wanted.clear()
            return None
        ours = TOPIC_PREFIX.encode()
        if kind != _SUBSCRIBE or not (prefix.startswith(ours) or ours.startswith(prefix)):
            return None
        if len(self._prefixes) <= self.MAXIMUM:
            self._prefixes.add(prefix)
        self._wanted.clear()
        return prefix

    def wants(self, topic: bytes) -> bool:
        """Whether a message of this topic has a subscriber."""
        wanted = self._wanted.get(topic)
        if wanted is None:
            full = len(self._prefixes) > self.MAXIMUM
            wanted = full or any(topic.startswith(prefix) for prefix in self._prefixes)
            if len(self._wanted) >= self.MAXIMUM:  # topics of removed streams
                self._wanted.clear()
            self._wanted[topic] = wanted
        return wanted
