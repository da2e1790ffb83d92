"""Types of command line arguments, whose errors state what is allowed."""

from __future__ import annotations

import argparse
import math
import os
import re
from pathlib import Path

from streamer.errors import ConfigError


def path(text: str) -> str:
    """A path, with ``~`` as the home folder: a shell replaces it only at the start of a word."""
    return os.path.expanduser(text)


def endpoint(text: str) -> str:
    """An endpoint of ZeroMQ; the path of ``ipc://PATH`` likewise."""
    scheme, separator, rest = text.partition("://")
    return f"{scheme}{separator}{path(rest)}" if scheme == "ipc" else text


def folder(text: str) -> Path:
    """A folder, likewise."""
    return Path(path(text))


def positive(text: str) -> float:
    """A number above zero."""
    number = _number(text)
    if number <= 0:
        raise argparse.ArgumentTypeError(f"must be above 0, got {text}")
    return number


def share(text: str) -> float:
    """A number from 0 to 1."""
    number = _number(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"must be from 0 to 1, got {text!r}")
    return number


def stream(text: str) -> tuple[str, str]:
    """``ID=URL``."""
    from streamer.config.stream_id import parse_stream  # with pydantic: only for these commands

    try:
        return parse_stream(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def stream_id(text: str) -> str:
    """The id of a stream."""
    from streamer.config.stream_id import checked_id

    try:
        return checked_id(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def positive_whole(text: str) -> int:
    """A whole number of at least one."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return int(text)


def object_id(text: str) -> int:
    """The id of an object."""
    if not text.isdecimal() or int(text) >= 2**31:
        raise argparse.ArgumentTypeError(
            f"must be a whole number between 0 and {2**31 - 1}, got {text!r}"
        )
    return int(text)


def whole(text: str) -> int:
    """A whole number of at least zero."""
    if not text.isdecimal() or int(text) >= 2**63:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 0, got {text!r}")
    return int(text)


def colour(text: str) -> str:
    """``#rrggbb``."""
    if not re.fullmatch("#[0-9a-fA-F]{6}", text):
        raise argparse.ArgumentTypeError(f"must be #RRGGBB such as '#ff8800', got {text!r}")
    return text


def point(text: str) -> tuple[float, float]:
    """``X,Y`` in pixels."""
    parts = text.split(",")
    if len(parts) != 2:
        raise argparse.ArgumentTypeError(f"must be X,Y such as 300,210, got {text!r}")
    return _number(parts[0]), _number(parts[1])


def box(text: str) -> tuple[float, float, float, float]:
    """``X0,Y0,X1,Y1`` in pixels, half-open, not empty."""
    parts = text.split(",")
    if len(parts) != 4:
        raise argparse.ArgumentTypeError(
            f"must be X0,Y0,X1,Y1 such as 120,80,260,300, got {text!r}"
        )
    x0, y0, x1, y1 = map(_number, parts)
    if x0 >= x1 or y0 >= y1:
        raise argparse.ArgumentTypeError(f"must have X0 < X1 and Y0 < Y1, got {text!r}")
    return x0, y0, x1, y1


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number, got {text!r}") from None
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"must be a finite number, got {text!r}")
    return number
