"""Ending a TCP connection of which its client is not told by the kernel alone."""

from __future__ import annotations

import select
import socket

import pytest

from streamer.sinks.zeromq.connections import reset


def test_client_whose_window_is_full_is_told_at_once_that_its_connection_ended() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        # Before anyone connects: it is what the window is made of.
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        with socket.create_connection(server.getsockname()) as client:
            held, _ = server.accept()
            with held:
                client.setblocking(False)
                # Full: nothing more fits within a second, which is past the first probes.
                while select.select([], [client], [], 1.0)[1]:
                    client.send(bytes(1 << 16))
                with socket.socket(fileno=held.fileno()) as handle:
                    reset(handle)
                    handle.detach()
                while held.recv(1 << 16):  # what libzmq does when ``shutdown`` wakes it
                    pass
            # Without a reset its window stays full: the timeout is no ConnectionError.
            client.settimeout(10)
            with pytest.raises(ConnectionError):
                client.sendall(bytes(1 << 24))
