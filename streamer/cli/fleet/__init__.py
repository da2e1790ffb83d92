"""``masklet fleet``: several daemons as one on a Ray cluster."""
