"""Stream ids, and ``ID=URL`` as it is typed on the command line."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from streamer.config.messages import WrongSettingError
from streamer.errors import ConfigError
from streamer.runtime.redaction import redact

STREAM_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
STREAM_ID_RULE = "1 to 64 letters (a-z, A-Z), digits, '-' or '_', beginning with a letter or digit"


def checked_id(text: str) -> str:
    """``text``, if it is a stream id. Raises ``WrongSettingError``."""
    if not STREAM_ID.fullmatch(text):
        raise WrongSettingError(f"must be a stream id, {STREAM_ID_RULE}; {_fault(text)}")
    return text


def _fault(text: str) -> str:
    """What is wrong with an id, for the end of a sentence."""
    wrong = re.search(r"[^A-Za-z0-9_-]", text)
    if wrong is not None:
        return f"it holds {wrong[0]!r} (U+{ord(wrong[0]):04X})"
    if len(text) > 64:
        return f"it has {len(text)} characters"
    return f"it begins with {text[0]!r}" if text else "it is empty"


StreamId = Annotated[
    str,
    AfterValidator(checked_id),
    Field(
        description=f"a stream id, {STREAM_ID_RULE}",
        examples=["gate"],
        json_schema_extra={"pattern": f"^{STREAM_ID.pattern}$"},
    ),
]


def parse_stream(text: str) -> tuple[str, str]:
    """The two halves of ``ID=URL``. Raises ``ConfigError``."""
    stream_id, separator, url = text.partition("=")
    if not separator or not url:
        fault = "there is no '='" if not separator else "nothing follows '='"
    elif not STREAM_ID.fullmatch(stream_id):
        fault = f"before '=', {_fault(stream_id)}"
    else:
        return stream_id, url
    raise ConfigError(
        redact(f"a stream must be given as ID=URL, the id {STREAM_ID_RULE}; in {text!r} {fault}")
    )
