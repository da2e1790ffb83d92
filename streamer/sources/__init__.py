"""Sources of video: cameras, files, WebRTC peers, rendered scenes."""

from streamer.sources.base import Source, SourceOutput
from streamer.sources.factory import make_source

__all__ = ["Source", "SourceOutput", "make_source"]
