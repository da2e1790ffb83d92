"""Python clients of the daemon: a subscriber to its results, and its HTTP API."""

from streamer.client.subscriber import Subscriber, to_supervision

__all__ = ["Subscriber", "to_supervision"]
