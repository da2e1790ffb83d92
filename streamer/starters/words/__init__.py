"""Detectors of `transformers`: those that are asked in words, and those of fixed classes."""
