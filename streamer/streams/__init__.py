"""The streams of the daemon: each reads its source, reconnects and feeds the inference thread."""
