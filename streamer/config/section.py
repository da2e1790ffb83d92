"""The base of every section of the configuration: an immutable, strictly checked pydantic model."""

from __future__ import annotations

import re
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from streamer.config.messages import WrongSettingError, config_error

# Characters that every program can show. (Half of a surrogate pair is no text to begin with.)
LABEL_PATTERN = r"[^\x00-\x1f\x7f-\x9f]{1,128}"
_LABEL_RULE = "1 to 128 characters, none of them a control character"


def _is_label(text: str) -> str:
    wrong = re.search(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", text)
    if wrong is None and 0 < len(text) <= 128:
        return text
    fault = f"it has {len(text)}" if wrong is None else f"it holds U+{ord(wrong[0]):04X}"
    raise WrongSettingError(f"must be {_LABEL_RULE}; {fault}")


Label = Annotated[
    str,
    AfterValidator(_is_label),
    Field(
        description=_LABEL_RULE,
        examples=["keeper"],
        json_schema_extra={"pattern": f"^{LABEL_PATTERN}$"},
    ),
]
ObjectId = Annotated[int, Field(ge=0, le=2**31 - 1, examples=[1])]
Pixel = Annotated[float, Field(ge=-65_536, le=65_536)]
Point = Annotated[list[Pixel], Field(min_length=2, max_length=2, description="[x, y]")]


class Section(BaseModel):
    """A section: types are not converted, unknown keys are errors, values never change.

    Construction raises pydantic's ``ValidationError``. ``read`` and ``changed`` are for values
    of users and programs: they raise ``ConfigError``, whose message names each wrong setting.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, hide_input_in_errors=True
    )

    @classmethod
    def read(cls, values: object, key: str = "") -> Self:
        """The section of plain ``values``, which stand under ``key`` in the configuration."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise config_error(error, cls, key) from None

    def changed(self, **values: Any) -> Self:
        """A copy with these values, checked as a whole."""
        return self.read({**dict(self), **values})
