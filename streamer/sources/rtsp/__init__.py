"""RTSP (RFC 2326): the dialogue with a camera is ours, reading the media is FFmpeg's.

FFmpeg connects to a relay on loopback: it never sees a password, a redirect, or a track that is not
needed.
"""
