"""Names of files for clips, whatever a data set calls them."""

from __future__ import annotations

from urllib.parse import quote_plus


def file_stem(*parts: str) -> str:
    """One name of several parts, such as a category and a clip: "fast+ball,s30100".

    What cannot stand in a file's name is written as in a URL, so that other parts give another
    name: a clip's film or scores are never taken for those of a clip with a similar name.
    """
    return ",".join(quote_plus(part) for part in parts)
