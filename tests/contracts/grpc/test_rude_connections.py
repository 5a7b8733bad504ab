"""Connections that say nothing, or only ping: the gRPC server does not keep them, and goes on serving others."""

from __future__ import annotations

import contextlib
import socket
import struct
import time

from tests.contracts.grpc.callers import Caller
from tests.rig import Server

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS, PING, GOAWAY = 4, 6, 7


def a_frame(kind: int, payload: bytes = b"", flags: int = 0) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + b"\0\0\0\0" + payload


def connect(server: Server) -> socket.socket:
    host, _, port = server.grpc.rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), timeout=30)


def test_a_connection_that_says_nothing_is_closed(server: Server, nobody: Caller) -> None:
    began = time.monotonic()
    with connect(server) as silent:
        while silent.recv(4096):  # its own settings first
            pass
    assert time.monotonic() - began < 25
    assert nobody.health() == "ok"


def test_whoever_pings_without_end_is_told_to_go(server: Server, nobody: Caller) -> None:
    with connect(server) as rude:
        rude.sendall(PREFACE + a_frame(SETTINGS))
        heard = b""
        with contextlib.suppress(ConnectionError):  # it may be told before it has sent them all
            for _ in range(200):
                rude.sendall(a_frame(PING, b"12345678"))
        with contextlib.suppress(ConnectionError):
            while piece := rude.recv(4096):
                heard += piece
    assert b"too_many_pings" in heard
    assert nobody.health() == "ok"
