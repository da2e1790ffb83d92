"""``masklet image``: objects cut out of pictures, and pictures encoded to a file."""
