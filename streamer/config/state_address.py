"""The address of a state store that several daemons can reach: a shared folder, or a bucket."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from streamer.config.messages import WrongSettingError

# By scheme: which store it means. Only stores that show a written object whole or not at all.
SCHEMES = {
    "file": "file", "s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "az": "az", "abfs": "az",
}  # fmt: skip
_FORM = re.compile(rf"([A-Za-z][A-Za-z0-9+.\-]*)://(.*)|({'|'.join(SCHEMES)}):.*", re.DOTALL)
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\-]{1,254}")
_PART = re.compile(r"[A-Za-z0-9_=+,.\- ]{1,255}")


def is_address(text: str) -> bool:
    """Whether ``text`` is meant as an address, not as the path of a folder."""
    return _FORM.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class StateAddress:
    """``kind`` is a value of ``SCHEMES``; ``path`` a folder's path, or ``BUCKET/PREFIX``."""

    kind: str
    path: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ``WrongSettingError`` for an address that cannot be used."""
        form = _FORM.fullmatch(text)
        scheme, rest = (form[1], form[2]) if form else (None, None)
        kind = None if scheme is None else SCHEMES.get(scheme.lower())
        if kind is None or rest is None:
            written = f"{scheme}://…" if scheme else _shown(text)
            raise WrongSettingError(
                "must be file:///FOLDER, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or "
                f"az://CONTAINER/PREFIX, got {written}: a store must show a written file whole or "
                "not at all"
            )
        if kind == "file":
            if not rest.startswith("/") or "\0" in rest:
                raise WrongSettingError(f"must name a folder, file:///FOLDER, got {text!r}")
            return cls(kind, rest.rstrip("/") or "/")
        if "@" in rest:
            raise WrongSettingError(
                "must be an address without credentials; give those as the store's own environment "
                "variables or files, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
        bucket, *parts = rest.rstrip("/").split("/")
        if not _BUCKET.fullmatch(bucket):
            raise WrongSettingError(f"must name a bucket, {scheme}://BUCKET/PREFIX, got {text!r}")
        for part in parts:
            if not _PART.fullmatch(part) or part in (".", ".."):
                raise WrongSettingError(
                    "must have a prefix of letters, digits and _ = + , . - between single "
                    f"slashes, got {part!r} in {text!r}"
                )
        return cls(kind, "/".join((bucket, *parts)))

    def under(self, *names: str) -> StateAddress:
        """The address of what lies below this one."""
        return StateAddress(self.kind, "/".join((self.path.rstrip("/"), *names)))

    def __str__(self) -> str:
        return f"{self.kind}://{self.path}"


def _shown(text: str) -> str:
    return repr(text if "@" not in text else f"{text.partition(':')[0]}:…")
