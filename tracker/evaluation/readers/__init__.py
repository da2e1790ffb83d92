"""Readers of published datasets, one frame at a time, without unpacking or conversion."""
