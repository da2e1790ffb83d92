"""Training: nano from scratch, and fine-tuning of any checkpoint on your own masks."""
