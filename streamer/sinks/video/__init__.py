"""Live pictures for viewers: masks drawn in, encoded once for all viewers of a stream."""
