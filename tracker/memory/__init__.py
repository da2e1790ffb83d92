"""The memory bank: preallocated slots that hold what the objects looked like."""
