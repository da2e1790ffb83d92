"""The error for a library of the ``evaluation`` extra that is not installed."""

from tracker.errors import TrackerError


class MissingLibraryError(TrackerError):
    """A measure or an output needs a library that is not installed."""
