"""A merchants' server that costs little: it says 204 to whatever is posted to it. Run as `python -m bench.sink PORT`."""

from __future__ import annotations

import asyncio
import re
import sys
from typing import Any

import uvloop

_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)
_ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"


class Sink(asyncio.Protocol):
    """One connection."""

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
            self.left = self.left[size:]
            self.transport.write(_ANSWER)


async def main(port: int) -> None:
    """Serve until killed."""
    server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
