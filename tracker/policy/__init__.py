"""How memories are chosen: the paper's rule, and one that survives occlusion, cuts and gaps.

This package itself imports nothing, so that options can be read without torch.
"""
