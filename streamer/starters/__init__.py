"""Objects that start themselves: a detector runs at a low rate beside the tracker.

Read ``detector.py`` for what a detector is, ``policy.py`` for what becomes of its detections, and
``stream_starter.py`` for how it runs; ``docs/detectors.md`` is for those who bring a detector.
"""
