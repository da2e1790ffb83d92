"""Where pictures come from."""

from streamer.sources.base import Source, SourceOutput
from streamer.sources.factory import make_source

__all__ = ["Source", "SourceOutput", "make_source"]
