"""WebRTC peers: ICE, DTLS, session descriptions, and encoded video received from a peer."""
