"""Python clients of the daemon: a subscriber to its results, and its HTTP API."""
