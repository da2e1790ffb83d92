"""File names for clips, whatever the names in a dataset."""

from __future__ import annotations

from urllib.parse import quote_plus


def file_stem(*parts: str) -> str:
    """One name for several parts, such as a category and a clip: "fast+ball,s30100".

    Characters are escaped as in a URL, so that different parts always have different names.
    """
    return ",".join(quote_plus(part) for part in parts)
