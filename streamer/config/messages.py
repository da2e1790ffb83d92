"""What pydantic finds wrong with settings, as messages that name the key and what is allowed.

No message shows a value that may hold a secret.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from types import NoneType
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from streamer.errors import ConfigError

_SECRET = re.compile(r"url|pass|pwd|secret|token|key|auth|credential|header|cookie", re.IGNORECASE)
_WANTED = {
    "bool_type": "true or false",
    "int_type": "a whole number",
    "float_type": "a finite number",
    "finite_number": "a finite number",
    "string_type": "text",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
}


class WrongSettingError(ValueError):
    """Raised by validators: "``KEY.where`` ``message``", such as "must be above 3, got 2"."""

    def __init__(self, message: str, where: str = "") -> None:
        super().__init__(message)
        self.where = where


def config_error(error: ValidationError, section: type[BaseModel], key: str) -> ConfigError:
    """All errors of values for ``section``, which stand under ``key``, in one ``ConfigError``."""
    found = [_message(each, section, key) for each in error.errors(include_url=False)]
    return ConfigError("; ".join(found))


def shown(value: object, key: str = "") -> str:
    """The value of the setting ``key`` for a message; hidden where it may hold a secret."""
    if _SECRET.search(key.rpartition(".")[2]):
        return "a value that is not shown"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "nothing"}[value]
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, float):
        return f"{value:.15g}"
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _message(error: Mapping[str, Any], section: type[BaseModel], prefix: str) -> str:
    kind, location, value = error["type"], error["loc"], error["input"]
    cause = error.get("ctx", {}).get("error")
    if isinstance(cause, ConfigError):
        return str(cause)
    where = getattr(cause, "where", "")
    is_key = location[-1:] == ("[key]",)
    key = _path(prefix, *location[: -1 if is_key else None], *([where] if where else []))
    expected, field, owner = _expected_at(section, location)
    if kind == "extra_forbidden":
        known = list(owner.model_fields)
        close = difflib.get_close_matches(str(location[-1]), known, n=1)
        meant = f"; did you mean {close[0]}?" if close else ""
        return f"{key} is not a setting{meant} (known here: {', '.join(known)})"
    if kind == "missing":
        return f"{key} is missing: it has no default"
    if isinstance(cause, WrongSettingError):
        return f"{key} {cause}"
    wanted = _WANTED.get(kind)
    if kind == "literal_error":
        wanted = "one of " + ", ".join(str(each) for each in get_args(expected))
    elif kind in ("greater_than_equal", "less_than_equal") and field:
        wanted = _range(field)
    elif kind == "string_unicode":
        wanted = (field and field.description) or "text in UTF-8"
    elif kind in ("string_pattern_mismatch", "too_long", "too_short"):
        wanted = field and field.description
    if wanted is None:
        return f"{key}: {error['msg']}"
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    hint = " (put it in quotes)" if kind == "string_type" and is_number else ""
    return f"{key or 'the configuration'} must be {wanted}, got {shown(value, key)}{hint}"


def _path(prefix: str, *parts: str | int) -> str:
    path = prefix
    for part in parts:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part.startswith("["):
            path += part
        else:
            path += f".{part}" if path else part
    return path


def _expected_at(
    section: type[BaseModel], location: tuple[str | int, ...]
) -> tuple[Any, FieldInfo | None, type[BaseModel]]:
    """What stands at ``location``: its bare annotation, what is known of it, and its section."""
    annotation, field, owner = _bare(section, None, section)
    for part in location:
        if get_origin(annotation) is dict and location[-1] == "[key]" and part is location[-2]:
            return _bare(get_args(annotation)[0], None, owner)
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            field = annotation.model_fields.get(str(part))
            inner = Any if field is None else field.annotation
        else:
            field, inner = None, get_args(annotation)[-1]
        annotation, field, owner = _bare(inner, field, owner)
    return annotation, field, owner


def _bare(
    annotation: Any, field: FieldInfo | None, owner: type[BaseModel]
) -> tuple[Any, FieldInfo | None, type[BaseModel]]:
    """``annotation`` without ``Annotated`` and ``| None``, whose own description comes first."""
    while True:
        arguments = [each for each in get_args(annotation) if each is not NoneType]
        if get_origin(annotation) is Annotated:
            annotation = arguments[0]
            field = next((each for each in arguments[1:] if isinstance(each, FieldInfo)), field)
        elif len(get_args(annotation)) > len(arguments) == 1:
            annotation = arguments[0]
        else:
            break
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        owner = annotation
    return annotation, field, owner


def _range(field: FieldInfo) -> str:
    lowest = next(each.ge for each in field.metadata if hasattr(each, "ge"))
    highest = next(each.le for each in field.metadata if hasattr(each, "le"))
    return f"between {lowest:.15g} and {highest:.15g}"
