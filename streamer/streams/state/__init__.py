"""What survives a restart: streams, names, ids and what the objects look like."""
