"""From plain mappings to typed sections: types, limits, and messages that name the key.

Knows dataclasses and their annotations, and no setting by name.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from streamer.errors import ConfigError

T = TypeVar("T")

_SECRET = re.compile(r"url|pass|pwd|secret|token|key|auth|credential|header|cookie", re.IGNORECASE)


@dataclasses.dataclass(frozen=True, slots=True)
class _Limit:
    """What a field's annotation cannot say: a range, or a pattern with its description."""

    minimum: float | None = None
    maximum: float | None = None
    pattern: str | None = None
    description: str = ""


def ranged(*default_minimum_maximum: float | None) -> Any:
    """A dataclass field with a range: ``(default, minimum, maximum)``, or no default."""
    *default, minimum, maximum = default_minimum_maximum
    metadata = {"limit": _Limit(minimum=minimum, maximum=maximum)}
    if not default:
        return dataclasses.field(metadata=metadata)
    return dataclasses.field(default=default[0], metadata=metadata)


def one_of_forms(default: str | None, pattern: str, description: str) -> Any:
    """A dataclass field whose text must match ``pattern``; ``description`` says it in words."""
    limit = _Limit(pattern=pattern, description=description)
    return dataclasses.field(default=default, metadata={"limit": limit})


def required_form(pattern: str, description: str) -> Any:
    """``one_of_forms`` for a field without a default."""
    limit = _Limit(pattern=pattern, description=description)
    return dataclasses.field(metadata={"limit": limit})


def build(section: type[T], values: object, key: str = "") -> T:
    """Make ``section`` from a mapping.

    Raises ``ConfigError`` for an unknown key, a missing one or a value of another type; limits
    are ``check_limits``' business.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{key or 'the configuration'} must be a mapping, got {_shown(values)}")
    hints = typing.get_type_hints(section)
    fields = {each.name: each for each in dataclasses.fields(typing.cast(Any, section))}
    for name in values:
        if name not in fields:
            raise ConfigError(_unknown_key(_join(key, str(name)), str(name), list(fields)))
    for name, each in fields.items():
        needed = each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING
        if needed and name not in values:
            raise ConfigError(f"{_join(key, name)} is missing: it has no default")
    return section(
        **{
            name: _convert(hints[name], value, _join(key, str(name)))
            for name, value in values.items()
        }
    )


def check_limits(section: object, key: str = "") -> None:
    """Raise ``ConfigError`` for the first value outside its range or form, at any depth.

    Checks types too, for sections that a program made by hand.
    """
    hints = typing.get_type_hints(type(section))
    for each in dataclasses.fields(typing.cast(Any, section)):
        name = _join(key, each.name)
        value = getattr(section, each.name)
        for nested_key, nested in _nested_sections(name, value):
            check_limits(nested, nested_key)
        if not list(_nested_sections(name, value)):
            _convert(hints[each.name], value, name)
        limit: _Limit | None = each.metadata.get("limit")
        if limit is not None and value is not None:
            _check_limit(limit, value, name)


def _nested_sections(key: str, value: object) -> typing.Iterator[tuple[str, object]]:
    if dataclasses.is_dataclass(value):
        yield key, value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _nested_sections(f"{key}.{name}", item)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _nested_sections(f"{key}[{index}]", item)


def _check_limit(limit: _Limit, value: Any, key: str) -> None:
    if limit.pattern is not None:
        if not re.fullmatch(limit.pattern, value):
            raise ConfigError(f"{key} must be {limit.description}, got {_shown(value, key)}")
    elif not (
        (limit.minimum is None or value >= limit.minimum)
        and (limit.maximum is None or value <= limit.maximum)
    ):
        raise ConfigError(
            f"{key} must be between {_number(limit.minimum)} and {_number(limit.maximum)}, "
            f"got {_number(value)}"
        )


def _convert(expected: Any, value: object, key: str) -> Any:
    """``value`` as ``expected``, which is one of the few annotations that settings use."""
    origin, arguments = get_origin(expected), get_args(expected)
    if origin in (Union, types.UnionType):
        if value is None:
            return None
        (inner,) = (each for each in arguments if each is not type(None))
        return _convert(inner, value, key)
    if dataclasses.is_dataclass(expected):
        return build(typing.cast(type[Any], expected), value, key)
    if origin is Literal:
        if value not in arguments:
            allowed = ", ".join(str(each) for each in arguments)
            raise ConfigError(f"{key} must be one of {allowed}, got {_shown(value, key)}")
        return value
    if origin is list:
        if not isinstance(value, list):
            raise ConfigError(f"{key} must be a list, got {_shown(value, key)}")
        return [_convert(arguments[0], item, f"{key}[{i}]") for i, item in enumerate(value)]
    if origin is dict:
        if not isinstance(value, Mapping):
            raise ConfigError(f"{key} must be a mapping, got {_shown(value, key)}")
        return {
            _convert(arguments[0], name, key): _convert(arguments[1], item, _join(key, str(name)))
            for name, item in value.items()
        }
    return _convert_scalar(expected, value, key)


def _convert_scalar(expected: type, value: object, key: str) -> object:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if expected is bool and isinstance(value, bool):
        return value
    if expected is int and isinstance(value, int) and is_number:
        return value
    if expected is float and is_number and math.isfinite(typing.cast(float, value)):
        return float(typing.cast(float, value))
    if expected is str and isinstance(value, str):
        return value
    wanted = {
        bool: "true or false",
        int: "a whole number",
        float: "a finite number",
        str: "text",
    }[expected]
    hint = " (put it in quotes)" if expected is str and is_number else ""
    raise ConfigError(f"{key} must be {wanted}, got {_shown(value, key)}{hint}")


def _unknown_key(path: str, name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    meant = f"; did you mean {close[0]}?" if close else ""
    return f"{path} is not a setting{meant} (known here: {', '.join(known)})"


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def _number(value: float | None) -> str:
    return "any" if value is None else f"{value:.15g}"


def _shown(value: object, key: str = "") -> str:
    """The value for a message; nothing of one that could hold a secret."""
    if _SECRET.search(key.rpartition(".")[2]):
        return "a value that is not shown"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "nothing"}[value]
    text = repr(value) if isinstance(value, str) else str(value)
    if isinstance(value, Mapping):
        text = "a mapping"
    return text if len(text) <= 60 else text[:57] + "…"
