"""The daemon: live video in, tracked objects out. ``app.py`` wires it together."""
