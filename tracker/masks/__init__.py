"""From the network's mask logits to masks and boxes on the picture."""
