"""The wire contract ``masklet/1``: messages, their encoding, and the encodings of masks."""
