"""The fixtures of the peers below: WHIP is tested on the same loopback interface."""

from tests.streamer.webrtc.conftest import ingest, loopback_only, make_ingest, nothing_left

__all__ = ["ingest", "loopback_only", "make_ingest", "nothing_left"]
