"""RTSP (RFC 2326): a relay conducts the dialogue with a camera, FFmpeg reads the media from it.

FFmpeg never sees a password, a redirect, or a track that is not needed.
"""
