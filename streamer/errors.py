"""What the daemon raises.

    MaskletError
    ├── ConfigError        a configuration value; the message names the key and what is allowed
    ├── PictureError       a picture file that cannot be read, or a result that cannot be written
    ├── SourceError        a stream's source; carries a typed ``SourceFailure`` reason
    ├── WireError          bytes that are not a message of this interface
    │   └── WireVersionError   a message of an unknown major version
    ├── SecurityError      a bind, key or credential that is refused
    ├── FleetError         the manager of a fleet, or its Ray cluster, cannot be reached
    ├── StarterError       a starter's detector that failed, or returned an impossible detection
    │   └── DetectorNotReady   no failure: it has no result now (the camera moves, it is learning)
    └── ControlError       a command that could not be carried out
        ├── UnknownStreamError   there is no such stream
        ├── UnknownObjectError   the stream follows no such object
        ├── StreamExistsError    the stream's name is taken
        ├── BusyError            too much waits already, or the daemon is stopping: try again later
        └── RateError            it came too soon after others; ``wait_s`` is how long to wait

Messages never hold a password: what comes from a library passes ``security.redact`` first.
"""

from __future__ import annotations

from enum import StrEnum


class MaskletError(Exception):
    """Base of everything the daemon raises on purpose."""


class ConfigError(MaskletError, ValueError):
    """A configuration value is unknown, of the wrong type or impossible."""


class PictureError(MaskletError):
    """A picture file cannot be read, or what is made of it cannot be written."""


class SourceFailure(StrEnum):
    """Why a source could not go on; the ``reason`` label of events and metrics."""

    UNREACHABLE = "unreachable"
    REFUSED = "refused"
    UNAUTHORISED = "unauthorised"
    NOT_FOUND = "not_found"
    NO_VIDEO = "no_video"
    CODEC = "codec"
    TIMEOUT = "timeout"
    GARBAGE = "garbage"
    ENDED = "ended"
    INTERNAL = "internal"


class SourceError(MaskletError):
    """A source ended or never began; ``reason`` says why, the message is for the operator."""

    def __init__(self, reason: SourceFailure, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class WireError(MaskletError, ValueError):
    """Bytes that are not a message of this interface."""


class WireVersionError(WireError):
    """A message of a major version that this reader does not know."""


class SecurityError(MaskletError):
    """A bind address, key or credential is refused."""


class FleetError(MaskletError):
    """The manager of a fleet, or its Ray cluster, cannot be reached."""


class StarterError(MaskletError):
    """A starter's detector could not run, or returned something that is no detection."""


class DetectorNotReady(StarterError):  # noqa: N818 - raised to report a state, not an error
    """A detector has no result for this picture, for a reason that passes; the message says why."""


class ControlError(MaskletError):
    """A command could not be carried out; nothing was changed."""


class UnknownStreamError(ControlError):
    """There is no stream of this name."""


class UnknownObjectError(ControlError):
    """The stream follows no object of this id."""


class StreamExistsError(ControlError):
    """There is a stream of this name already."""


class BusyError(ControlError):
    """Nothing more is taken now; the same command may be sent again later."""


class RateError(ControlError):
    """There were too many of these in a short time; the next one may come in ``wait_s``."""

    def __init__(self, message: str, wait_s: float) -> None:
        super().__init__(message)
        self.wait_s = wait_s
