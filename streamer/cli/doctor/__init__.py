"""``masklet doctor``: what this machine, its devices and its streams can do."""
