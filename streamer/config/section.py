"""The base of every section of the configuration: an immutable, strictly checked pydantic model."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from streamer.config.messages import config_error

# Characters that every program can show. (Half of a surrogate pair is no text to begin with.)
LABEL_PATTERN = r"[^\x00-\x1f\x7f-\x9f]{1,128}"
Label = Annotated[
    str,
    Field(
        pattern=f"^{LABEL_PATTERN}$",
        description="1 to 128 characters, none of them a control character",
        examples=["keeper"],
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
