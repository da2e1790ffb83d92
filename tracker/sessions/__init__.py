"""The state of each stream: its objects, its prompts and its history."""
