"""``masklet demo``: a rendered match, tracked live."""
