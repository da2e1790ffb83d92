"""Scoring a tracker on clips: measures, suites, datasets, and reports of the results."""
