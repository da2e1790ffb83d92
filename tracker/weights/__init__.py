"""Checkpoints: reading them, Meta's names and layouts, and score calibration."""
