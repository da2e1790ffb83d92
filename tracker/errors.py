"""The tracker's exceptions.

TrackerError
├── CheckpointError   a checkpoint that is missing, damaged or of another model
├── PromptError       a prompt that cannot be applied (the message names object and value)
├── CapacityError     no free slot; nothing was changed
├── EmbeddingError    embeddings of pictures that cannot be stored, read or used
├── ObjectMemoryError a stored memory that this tracker cannot use
└── SessionError      a session used after it was closed, or given twice to one step
"""


class TrackerError(Exception):
    """Base of everything the tracker raises on purpose."""


class CheckpointError(TrackerError):
    """A checkpoint is missing, damaged, or does not fit the model it was given to."""


class PromptError(TrackerError, ValueError):
    """A prompt cannot be applied; no session was changed by it."""


class CapacityError(TrackerError):
    """Every object slot is taken; the step was refused before it changed anything."""


class EmbeddingError(TrackerError, ValueError):
    """Embeddings of pictures are damaged, of another model, or cannot be stored."""


class ObjectMemoryError(TrackerError, ValueError):
    """A stored object memory is of another model or damaged."""


class SessionError(TrackerError, RuntimeError):
    """A session was used after it was closed, or twice in one step."""
