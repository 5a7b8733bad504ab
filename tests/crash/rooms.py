"""Names at a broker that nobody else uses, and their end."""

from __future__ import annotations

import itertools
import os
from functools import partial

import aio_pika
from tests import rig

_numbers = itertools.count()


def make_rooms(url: str) -> dict[str, str]:
    """Settings for a broker with an exchange and a queue of one's own."""
    name = f"kassa.crash.{os.getpid()}.{next(_numbers)}"
    return {"RABBITMQ_URL": url, "EXCHANGE_NAME": name, "QUEUE_NAME": f"{name}.queue"}


def close_rooms(rooms: dict[str, str]) -> None:
    """Remove the exchange and the queue. A broker that is gone has none."""
    rig.run_alone(partial(_close, rooms))


async def _close(rooms: dict[str, str]) -> None:
    try:
        connection = await aio_pika.connect(rooms["RABBITMQ_URL"], timeout=5)
    except (OSError, TimeoutError, aio_pika.exceptions.AMQPError):
        return
    async with connection, connection.channel() as channel:
        for queue in (rooms["QUEUE_NAME"], f"{rooms['QUEUE_NAME']}.dead"):
            await channel.queue_delete(queue)
        for exchange in (rooms["EXCHANGE_NAME"], f"{rooms['EXCHANGE_NAME']}.dlx"):
            await channel.exchange_delete(exchange)
