"""Where results go: the fanout and its queues, and one sink for each way out."""
