"""What every room above may use: clock, threads, logs, metrics, keys and private files."""
