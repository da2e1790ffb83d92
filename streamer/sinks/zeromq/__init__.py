"""Results over ZeroMQ: the publishing socket, its keys, and what a late subscriber gets."""
