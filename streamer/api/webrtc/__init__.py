"""WebRTC over the API: publishers that send video in, and viewers that receive it."""
