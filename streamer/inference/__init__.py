"""The inference thread: which frames are tracked next, and what comes of each step."""
