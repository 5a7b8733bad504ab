"""Search by anything: ids, order numbers, references, e-mail addresses, cards' last digits, amounts. One box, many looks.

Each look is along an index. Where none leads from the words to the row, a bounded number of the newest rows is gone through, or a
day's, and the answer says so.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, time, timedelta

from kassa.desk.model import Found, Hit
from kassa.desk.question import Sought
from kassa.kit.database import Reader, Row
from kassa.kit.secrets import Keys
from kassa.notices.model import email_keys

_MOST = 20
_NEWEST = 50_000
"""So many of the newest payments are gone through for a provider's reference, which no index holds: it would be written anew with
every payment that is paid."""
_ORDER = "merchant_id, order_id, order_number, status, total_minor, currency, created_at"
_PAYMENT = "merchant_id, payment_id, ref, status, amount_minor, currency, created_at, coalesce(routed_to, provider) AS account"

_Look = Callable[[], Awaitable[list[Hit]]]


async def find(reader: Reader, keys: Keys, merchant_id: str, sought: Sought, now: datetime) -> Found:
    """What `sought` may mean among a merchant's rows, at most 20 hits of each look. `now` is the time of the one clock."""
    looks = _Looks(reader, keys, merchant_id, sought, now)
    hits: dict[tuple[str, str], Hit] = {}
    for words, look in looks.chosen():
        looks.words.append(words)
        for hit in await look():
            hits.setdefault((hit.kind, hit.name), hit)
    return Found(looks.words, list(hits.values()))


class _Looks:
    """The looks that one search takes."""

    def __init__(self, reader: Reader, keys: Keys, merchant_id: str, sought: Sought, now: datetime) -> None:
        self._reader, self._keys, self._merchant, self._sought = reader, keys, merchant_id, sought
        self.words: list[str] = []
        day = sought.day
        self._since = datetime.combine(day, time(), UTC) if day else (now - timedelta(days=1)).replace(hour=0, minute=0, second=0)
        self._until = datetime.combine(day, time(), UTC) + timedelta(days=1) if day else now + timedelta(minutes=1)
        self._when = f"on {day:%Y-%m-%d}" if day else "since yesterday morning"

    def chosen(self) -> list[tuple[str, _Look]]:
        """Which looks fit the words, each with what it looks for."""
        sought, looks = self._sought, list[tuple[str, _Look]]()
        if sought.id is not None:
            looks.append(("an id of an order, payment, purchase, refund, delivery or case", self._by_id))
        if sought.order_number is not None:
            looks.append(("an order number", self._by_number))
        if sought.email is not None:
            looks.append(("the e-mail address of a buyer", self._by_email))
        if sought.last4 is not None:
            looks.append((f"the last four digits of a card {self._when}", self._by_last4))
        if sought.amount is not None:
            looks.append((f"an amount of a payment {self._when}", self._by_amount))
        if sought.is_plain:
            looks.append(("a merchant's reference of a payment", self._by_reference))
            looks.append(("a buyer's id", self._by_buyer))
            looks.append(("an id at Payme, or a key of ours at a provider", self._by_foreign_key))
            among = self._when if sought.day else f"among the newest {_NEWEST:,} payments"
            looks.append((f"a provider's reference {among}", self._by_provider_ref))
        return looks

    async def _by_id(self) -> list[Hit]:
        rows = await self._reader.rows(
            """
            SELECT 'order' AS kind, order_id::text AS name, 'Order ' || order_number AS title, status, total_minor AS amount_minor,
                   currency, created_at AS at FROM orders WHERE merchant_id = $1 AND order_id = $2
            UNION ALL
            SELECT 'payment', payment_id::text, 'Payment for ' || ref, status, amount_minor, currency, created_at
              FROM payments WHERE merchant_id = $1 AND payment_id = $2
            UNION ALL
            SELECT 'checkout', checkout_id::text, 'Purchase', status, total_minor, currency, created_at
              FROM checkouts WHERE merchant_id = $1 AND checkout_id = $2
            UNION ALL
            SELECT 'payment', payment_id::text, 'Refund of a payment', status, amount_minor, currency, created_at
              FROM refunds WHERE merchant_id = $1 AND refund_id = $2
            UNION ALL
            SELECT 'delivery', d.delivery_id::text, 'Delivery of ' || d.event_type, d.status, NULL, NULL, d.created_at
              FROM endpoints e JOIN deliveries d ON d.merchant_id = e.merchant_id AND d.endpoint_id = e.endpoint_id
               AND d.delivery_id = $2 WHERE e.merchant_id = $1
            UNION ALL
            SELECT 'delivery', d.delivery_id::text, 'Delivery of event ' || d.event_type, d.status, NULL, NULL, d.created_at
              FROM deliveries d WHERE d.merchant_id = $1 AND d.event_id = $2
            UNION ALL
            SELECT 'case', case_id::text, kind || ' about ' || subject, CASE WHEN closed_at IS NULL THEN 'open' ELSE 'closed' END,
                   amount_minor, currency, opened_at FROM cases WHERE merchant_id = $1 AND case_id = $2
            """,
            self._merchant, self._sought.id,
        )  # fmt: skip
        return [self._hit(row, "its id") for row in rows]

    async def _by_number(self) -> list[Hit]:
        return await self._orders("order_number = $2", self._sought.order_number, because="its number")

    async def _by_email(self) -> list[Hit]:
        assert self._sought.email is not None
        known = await self._orders(
            """order_id IN (SELECT r.order_id FROM notice_recipients r
                             WHERE r.merchant_id = $1 AND r.email_key = ANY ($2) ORDER BY r.order_id DESC LIMIT 20)""",
            email_keys(self._keys, self._sought.email),
            because="the address that its buyer is told at",
        )
        guests = await self._orders(
            f"""order_id IN (SELECT c.order_id FROM (SELECT order_id, buyer_id, customer_email FROM checkouts WHERE merchant_id = $1
                                                      ORDER BY checkout_id DESC LIMIT {_NEWEST}) c
                              WHERE c.buyer_id IS NULL AND lower(c.customer_email) = $2)""",
            self._sought.email,
            because="the address that its guest gave",
        )
        return [*known, *guests]

    async def _by_last4(self) -> list[Hit]:
        return await self._payments_of_days("card_last4 = $4", self._sought.last4, because=f"the card, {self._when}")

    async def _by_amount(self) -> list[Hit]:
        rows = await self._reader.rows(
            """
            SELECT DISTINCT currency FROM channels WHERE merchant_id = $1
            UNION SELECT currency FROM merchants WHERE merchant_id = $1
            """,
            self._merchant,
        )
        known = {row["currency"] for row in rows} | ({self._sought.currency} if self._sought.currency else set())
        pairs = [(each, minor) for each in sorted(known) if (minor := self._sought.minor(each)) is not None]
        hits: list[Hit] = []
        for currency, minor in pairs:
            hits += await self._payments_of_days(
                "amount_minor = $4 AND currency = $5", minor, currency, because=f"the amount, {self._when}"
            )
        return hits

    async def _by_reference(self) -> list[Hit]:
        return await self._payments(
            "merchant_id = $1 AND ref = $2 ORDER BY payment_id DESC", self._sought.text, because="the reference"
        )

    async def _by_buyer(self) -> list[Hit]:
        rows = await self._reader.rows(
            f"""
            SELECT o.* FROM channels c CROSS JOIN LATERAL (
                SELECT {_ORDER} FROM orders x WHERE x.merchant_id = c.merchant_id AND x.channel = c.channel AND x.buyer_id = $2
                 ORDER BY x.created_at DESC, x.order_id DESC LIMIT {_MOST}) o
             WHERE c.merchant_id = $1
            """,
            self._merchant, self._sought.text,
        )  # fmt: skip
        return [_of_order(row, "the buyer's id") for row in rows]

    async def _by_foreign_key(self) -> list[Hit]:
        return [
            *await self._payments(
                """merchant_id = $1 AND payment_id IN (SELECT payment_id FROM payme_transactions
                                                        WHERE merchant_id = $1 AND payme_id = $2)""",
                self._sought.text,
                because="the id at Payme",
            ),
            *await self._payments(
                "merchant_id = $1 AND payment_id IN (SELECT payment_id FROM refunds WHERE merchant_id = $1 AND provider_key = $2)",
                self._sought.text,
                because="the key of a refund",
            ),
            *await self._payments("merchant_id = $1 AND client_key = $2", self._sought.text, because="the caller's key"),
        ]

    async def _by_provider_ref(self) -> list[Hit]:
        if self._sought.day:
            return await self._payments_of_days("provider_ref = $4", self._sought.text, because="the provider's reference")
        rows = await self._reader.rows(
            f"""
            SELECT {_PAYMENT} FROM (SELECT * FROM payments WHERE merchant_id = $1
                                     ORDER BY created_at DESC, payment_id DESC LIMIT {_NEWEST}) p
             WHERE provider_ref = $2 LIMIT {_MOST}
            """,
            self._merchant, self._sought.text,
        )  # fmt: skip
        return [_of_payment(row, "the provider's reference") for row in rows]

    async def _orders(self, condition: str, value: object, *, because: str) -> list[Hit]:
        rows = await self._reader.rows(
            f"SELECT {_ORDER} FROM orders WHERE merchant_id = $1 AND {condition} LIMIT {_MOST}", self._merchant, value
        )
        return [_of_order(row, because) for row in rows]

    async def _payments(self, condition: str, value: object, *, because: str) -> list[Hit]:
        rows = await self._reader.rows(f"SELECT {_PAYMENT} FROM payments WHERE {condition} LIMIT {_MOST}", self._merchant, value)
        return [_of_payment(row, because) for row in rows]

    async def _payments_of_days(self, condition: str, *values: object, because: str) -> list[Hit]:
        rows = await self._reader.rows(
            f"""
            SELECT {_PAYMENT} FROM payments
             WHERE merchant_id = $1 AND created_at >= $2 AND created_at < $3 AND {condition}
             ORDER BY created_at DESC, payment_id DESC LIMIT {_MOST}
            """,
            self._merchant, self._since, self._until, *values,
        )  # fmt: skip
        return [_of_payment(row, because) for row in rows]

    def _hit(self, row: Row, because: str) -> Hit:
        return Hit(
            row["kind"], row["name"], self._merchant, because, row["title"], row["status"], row["amount_minor"],
            row["currency"], row["at"],
        )  # fmt: skip


def _of_order(row: Row, because: str) -> Hit:
    return Hit(
        "order", str(row["order_id"]), row["merchant_id"], because, f"Order {row['order_number']}", row["status"],
        row["total_minor"], row["currency"], row["created_at"],
    )  # fmt: skip


def _of_payment(row: Row, because: str) -> Hit:
    return Hit(
        "payment", str(row["payment_id"]), row["merchant_id"], because, f"Payment through {row['account']} for {row['ref']}",
        row["status"], row["amount_minor"], row["currency"], row["created_at"],
    )  # fmt: skip
