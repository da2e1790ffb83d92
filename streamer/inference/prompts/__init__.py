"""Prompts on their way to the tracker, for the newest frame or an earlier one."""
