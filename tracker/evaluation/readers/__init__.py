"""Datasets as they are published, read a frame at a time: nothing is unpacked or converted."""
