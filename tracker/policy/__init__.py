"""Which masks are accepted and which memories are kept.

The paper's rule, and a robust one for occlusion, cuts and gaps.
"""
