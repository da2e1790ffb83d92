"""``masklet bench``: how many streams and objects this machine carries."""
