"""The yardstick of row 7: the same messages through the same kind of queue, published and consumed in one process; nothing else.

The confirms, the messages in flight, the consumers and their prefetch are those of Kassa; messages go through the client library,
past which Kassa's own go (decision 0039). Each is acknowledged when it arrives. Run as `python -m bench.wire URL NAME MESSAGES`;
prints the seconds that it took.
"""

from __future__ import annotations

import asyncio
import sys
import time
import uuid

import aio_pika
import uvloop
from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel
from pamqp.commands import Basic
from pamqp.common import FieldTable

from kassa.events.broker import CHANNELS, PREFETCH
from kassa.events.relay import AT_ONCE, IN_FLIGHT

PAYMENT = "019b76da-a801-7d90-a2b6-4c7f1e3d5b62"
BODY = f'{{"payment_id":"{PAYMENT}","order_id":1001,"merchant_id":1,"status":2,"amount":"2","price":"349.70"}}'.encode()
BINDINGS = ("payment.*", "refund.*", "order.*", "checkout.*", "subscription.*", "endpoint.*", "test.*", "delivery.*")


async def channel_of(connection: aio_pika.abc.AbstractConnection, *, confirms: bool) -> Channel:
    """A channel, at the lowest layer that the library shows."""
    channel = await connection.channel(publisher_confirms=confirms, on_return_raises=confirms)
    wire = await channel.get_underlay_channel()
    assert isinstance(wire, Channel)
    return wire


async def publish(wire: Channel, name: str, many: int) -> None:
    """Publish with as many in flight as a relay has."""

    async def one() -> None:
        headers: dict[str, str | int] = {
            "kassa-subject": f"payment:{PAYMENT}",
            "kassa-sequence": 1,
            "kassa-merchant-id": "1",
        }
        properties = Basic.Properties(
            content_type="application/json",
            delivery_mode=2,
            message_id=str(uuid.uuid4()),
            message_type="payment.paid",
            headers=dict(headers),
        )
        await wire.basic_publish(
            BODY, exchange=name, routing_key="payment.updated", properties=properties, mandatory=True, wait=False
        )

    for first in range(0, many, IN_FLIGHT):
        await asyncio.gather(*(one() for _ in range(min(IN_FLIGHT, many - first))))


async def main(url: str, name: str, messages: int) -> float:
    """Declare, measure, remove."""
    arrived, all_here = 0, asyncio.Event()
    sending, taking = await aio_pika.connect(url), await aio_pika.connect(url)
    wire = await channel_of(sending, confirms=True)
    await wire.exchange_declare(name, exchange_type="topic", durable=True)
    arguments: FieldTable = {"x-queue-type": "quorum", "x-delivery-limit": 20, "x-dead-letter-exchange": f"{name}.dlx"}
    await wire.queue_declare(name, durable=True, arguments=arguments)
    for key in BINDINGS:
        await wire.queue_bind(name, name, key)

    async def consume(at: Channel) -> None:
        async def take(message: DeliveredMessage) -> None:
            nonlocal arrived
            await at.basic_ack(message.delivery_tag or 0, wait=False)
            arrived += 1
            if arrived == messages:
                all_here.set()

        await at.basic_qos(prefetch_count=PREFETCH)
        await at.basic_consume(name, take)

    began = time.perf_counter()
    for _ in range(CHANNELS):
        await consume(await channel_of(taking, confirms=False))
    share = messages // AT_ONCE
    await asyncio.gather(
        *(publish(wire, name, share) for _ in range(AT_ONCE - 1)), publish(wire, name, messages - share * (AT_ONCE - 1))
    )
    await all_here.wait()
    took = time.perf_counter() - began
    await taking.close()
    await wire.queue_delete(name)
    await wire.exchange_delete(name)
    await sending.close()
    return took


if __name__ == "__main__":
    print(uvloop.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
