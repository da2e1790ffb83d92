"""``masklet ctl``: the HTTP API from a shell."""
