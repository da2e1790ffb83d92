"""The recipe that makes nano, and that fine-tunes any checkpoint from the user's own masks."""
