"""The HTTP server below the routes: sockets, TLS, tokens, limits and problem documents."""
