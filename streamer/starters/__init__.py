"""Objects that start themselves: a detector looks at a stream at a low rate beside the tracker.

Read ``detection.py`` for what a starter is, ``policy.py`` for what becomes of its finds,
``stream_starter.py`` for how it runs; ``README.md`` is for who brings a detector.
"""
