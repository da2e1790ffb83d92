"""Tests of the evaluation: measures, prompts, scoring and suites."""
