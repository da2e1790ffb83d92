"""The HTTP server: control API, health, metrics and the live page, on one port."""
