"""The judge judged: measures, prompts, scoring and suites."""
