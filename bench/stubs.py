"""The neighbours of row 2, for both sides alike: payment, inventory and order service in one process that says yes and counts.

Run as `python -m bench.stubs PORT`. `GET /counts` tells how often each was called.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections import Counter
from typing import Any

import uvloop

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_counts: Counter[str] = Counter()


def _answer(path: str) -> dict[str, Any]:
    """What the contract's services say; ids are their own."""
    if path == "/counts":
        return dict(_counts)
    _counts[path] += 1
    match path:
        case "/payments/process":
            number = _counts[path]
            return {"status": "success", "transactionId": f"T{number:08d}", "message": "Payment processed successfully"}
        case "/inventory/deduct":
            return {"success": True, "message": "Inventory deducted", "timestamp": "2026-01-01 00:00:00"}
        case "/orders":
            return {"orderId": f"order_{_counts[path]:08d}", "status": "created"}
    return {"error": "there is no such route"}


class Stub(asyncio.Protocol):
    """One connection, kept for as long as the caller likes."""

    def __init__(self) -> None:
        self.left = b""
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        """Keep it."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer each request that is whole."""
        self.left += data
        while (end := self.left.find(b"\r\n\r\n")) >= 0:
            found = _LENGTH.search(self.left, 0, end + 2)
            size = end + 4 + (int(found[1]) if found else 0)
            if len(self.left) < size:
                return
            path = self.left.split(b" ", 2)[1].decode()
            self.left = self.left[size:]
            body = json.dumps(_answer(path)).encode()
            head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            self.transport.write(head.encode() + body)


async def main(port: int) -> None:
    """Serve until killed."""
    server = await asyncio.get_running_loop().create_server(Stub, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
