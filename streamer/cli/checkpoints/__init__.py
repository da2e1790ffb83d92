"""``masklet checkpoints``: which there are, and their download."""
