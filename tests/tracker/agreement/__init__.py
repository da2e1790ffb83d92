"""Our tracker judged by an independent implementation (`transformers`) given the same weights."""
