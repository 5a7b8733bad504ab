-- One paid checkout of two lines under an idempotency key: the rows that Kassa writes, table by table, in its two commits.
-- Ids rise within a client, as Kassa's do over time. `n` and `base` are given on the command line.

\set n :n + 1
\set id (:client_id + 1) * 100000000000000 + :n * 100 + :base
\set a random(1, 10000)
\set b 1 + (:a + 4999) % 10000
\set low least(:a, :b)
\set high greatest(:a, :b)
SELECT p.product_id, p.sku, p.name, p.price_minor, p.currency, p.images, s.available
    FROM products p LEFT JOIN stock_levels s USING (merchant_id, channel, product_id)
    WHERE p.merchant_id = '1' AND p.channel = 'shop' AND p.product_id IN ('p' || :a::int, 'p' || :b::int) AND p.sold;
BEGIN;
INSERT INTO idempotency_keys (merchant_id, caller, operation, key, payload, subject, state, created_at, expires_at)
    VALUES ('1', 'user:1', 'POST /checkout/process', 'key-' || :id::bigint, decode(repeat('ab', 32), 'hex'), lpad(to_hex(:id::bigint + 1), 32, '0')::uuid::text, 'running',
    now(), now() + interval '30 days');
INSERT INTO checkouts (merchant_id, checkout_id, channel, surface, buyer_id, status, method, acts, order_id, payment_id,
    currency, total_minor, customer_email, request_id, idempotency, deadline, next_at, lease_until, lease_version, created_at,
    updated_at) VALUES ('1', lpad(to_hex(:id::bigint + 1), 32, '0')::uuid, 'shop', 'checkout', '1', 'paying', 'credit_card',
    '{stock,payment,order}', lpad(to_hex(:id::bigint + 2), 32, '0')::uuid, lpad(to_hex(:id::bigint + 3), 32, '0')::uuid, 'INR',
    300, 'customer@example.com', lpad(to_hex(:id::bigint + 4), 32, '0')::uuid::text,
    '{"key": "cb998a9d51f46faa9324a75e", "caller": "user:1", "operation": "POST /checkout/process"}', now() +
    interval '30 minutes', now(), now() + interval '8 s', 1, now(), now());
INSERT INTO checkout_steps (merchant_id, checkout_id, step, position, status, sends, first_sent_at, began_at, updated_at)
    VALUES ('1', lpad(to_hex(:id::bigint + 1), 32, '0')::uuid, 'stock', 0, 'done', 0, NULL, now(), now()), ('1',
    lpad(to_hex(:id::bigint + 1), 32, '0')::uuid, 'payment', 1, 'running', 1, now(), now(), now());
INSERT INTO orders (merchant_id, order_id, checkout_id, channel, buyer_id, order_number, status, payment_status, payment_id,
    payment_method, currency, lines_minor, total_minor, shipping_address, estimated_delivery, created_at, updated_at)
    VALUES ('1', lpad(to_hex(:id::bigint + 2), 32, '0')::uuid, lpad(to_hex(:id::bigint + 1), 32, '0')::uuid, 'shop', '1', 'ORD-'
    || :id::bigint, 'pending', 'pending', lpad(to_hex(:id::bigint + 3), 32, '0')::uuid, 'credit_card', 'INR', 300, 300,
    '{"street": "Rua das Flores", "number": "123", "city": "Sao Paulo", "state": "SP", "zip_code": "01234-567"}', now(), now(),
    now());
INSERT INTO order_lines (merchant_id, order_id, product_id, position, product_name, price_minor, quantity, total_minor)
    VALUES ('1', lpad(to_hex(:id::bigint + 2), 32, '0')::uuid, 'p' || :a::int, 1, 'p', 100, 2, 200), ('1',
    lpad(to_hex(:id::bigint + 2), 32, '0')::uuid, 'p' || :b::int, 2, 'p', 100, 1, 100);
INSERT INTO order_timeline (merchant_id, order_id, sequence, status, payment_status, moved, at)
    VALUES ('1', lpad(to_hex(:id::bigint + 2), 32, '0')::uuid, 1, 'pending', 'pending', true, now());
INSERT INTO payments (merchant_id, payment_id, ref_kind, ref, provider, method, script, status, currency, amount_minor,
    provider_key, card_brand, card_first6, card_last4, card_fingerprint, sends, expires_at, created_at, updated_at)
    VALUES ('1', lpad(to_hex(:id::bigint + 3), 32, '0')::uuid, 'order', lpad(to_hex(:id::bigint + 2), 32, '0')::uuid::text, 'simulated', 'credit_card',
    'checkout', 'opened', 'INR', 300,
    lpad(to_hex(:id::bigint + 1), 32, '0')::uuid || '-payment', 'visa', '411111', '1111', decode(repeat('ab', 32), 'hex'), 0, now(), now(), now());
SELECT product_id FROM stock_levels WHERE merchant_id = '1' AND channel = 'shop' AND product_id IN ('p' || :low::int, 'p' ||
    :high::int) ORDER BY product_id FOR NO KEY UPDATE;
UPDATE stock_levels SET available = available - 1 WHERE merchant_id = '1' AND channel = 'shop' AND product_id IN ('p' ||
    :low::int, 'p' || :high::int) AND available >= 1;
INSERT INTO reservations (merchant_id, checkout_id, product_id, channel, source, quantity, state, held_until)
    VALUES ('1', lpad(to_hex(:id::bigint + 1), 32, '0')::uuid, 'p' || :a::int, 'shop', 'own', 1, 'held', now()), ('1',
    lpad(to_hex(:id::bigint + 1), 32, '0')::uuid, 'p' || :b::int, 'shop', 'own', 1, 'held', now());
INSERT INTO event_counters (merchant_id, subject, last) VALUES ('1', 'checkout:' || lpad(to_hex(:id::bigint + 1), 32, '0')::uuid, 1),
    ('1', 'order:' || lpad(to_hex(:id::bigint + 2), 32, '0')::uuid, 1), ('1', 'payment:' || lpad(to_hex(:id::bigint + 3), 32, '0')::uuid, 1)
    ON CONFLICT (merchant_id, subject) DO UPDATE SET last = event_counters.last + 1;
INSERT INTO events (merchant_id, event_id, subject, sequence, type, occurred_at, data, traceparent)
    VALUES ('1', lpad(to_hex(:id::bigint + 11), 32, '0')::uuid, 'checkout:' || lpad(to_hex(:id::bigint + 1), 32, '0')::uuid, 1, 'checkout.started',
    now(), '{"checkout_id":"01a201c7-5277-78aa-a2dc-5ca3bab5471a","order_id":"01a201c7-5277-7365-b998-cfdac5599d7c","payment_id":"01a201c7-5277-70b8-aa3f-a96b586d2643","status":"completed","error": null}',
    '00-0954e7779ba22dbef4db96600a5a8b8e-2913df6ab575f2d7-00'),
    ('1', lpad(to_hex(:id::bigint + 12), 32, '0')::uuid, 'order:' || lpad(to_hex(:id::bigint + 2), 32, '0')::uuid, 1, 'order.created',
    now(), '{"order_id":"01a201c7-5277-7365-b998-cfdac5599d7c","order_number":"ORD-20261122-0MY7DKZN","status":"paid","payment_status":"paid","payment_id":"01a201c7-5277-70b8-aa3f-a96b586d2643","user_id":"1","total":"2.00","currency":"INR","items":[{"product_id":"p3577","quantity": 1,"price":"1.00"},{"product_id":"p4266","quantity": 1,"price":"1.00"}]}',
    '00-0954e7779ba22dbef4db96600a5a8b8e-2913df6ab575f2d7-00'),
    ('1', lpad(to_hex(:id::bigint + 13), 32, '0')::uuid, 'payment:' || lpad(to_hex(:id::bigint + 3), 32, '0')::uuid, 1, 'payment.created',
    now(), '{"payment_id":"01a201c7-5277-70b8-aa3f-a96b586d2643","order_id":"01a201c7-5277-7365-b998-cfdac5599d7c","status": 2,"status_name":"PAYMENT_FINISHED","state":"paid","provider":"simulated","amount":"1","price":"2.00","currency":"INR","captured":"2.00","refunded":"0.00","reason": null}',
    '00-0954e7779ba22dbef4db96600a5a8b8e-2913df6ab575f2d7-00');
COMMIT;
BEGIN;
UPDATE checkouts SET status = 'completed', next_at = NULL, lease_until = NULL, ended_at = now(), updated_at = now()
    WHERE merchant_id = '1' AND checkout_id = lpad(to_hex(:id::bigint + 1), 32, '0')::uuid AND status = 'paying' AND
    lease_version = 1;
UPDATE checkout_steps SET status = 'done', updated_at = now()
    WHERE merchant_id = '1' AND checkout_id = lpad(to_hex(:id::bigint + 1), 32, '0')::uuid AND step = 'payment';
INSERT INTO checkout_steps (merchant_id, checkout_id, step, position, status, began_at, updated_at)
    VALUES ('1', lpad(to_hex(:id::bigint + 1), 32, '0')::uuid, 'order', 2, 'done', now(), now());
UPDATE orders SET status = 'paid', payment_status = 'paid', version = 2, updated_at = now()
    WHERE merchant_id = '1' AND order_id = lpad(to_hex(:id::bigint + 2), 32, '0')::uuid AND version = 1;
INSERT INTO order_timeline (merchant_id, order_id, sequence, status, payment_status, moved, at)
    VALUES ('1', lpad(to_hex(:id::bigint + 2), 32, '0')::uuid, 2, 'paid', 'paid', true, now());
UPDATE payments SET status = 'paid', captured_minor = amount_minor, updated_at = now()
    WHERE merchant_id = '1' AND payment_id = lpad(to_hex(:id::bigint + 3), 32, '0')::uuid AND status = 'opened';
INSERT INTO ledger_entries (merchant_id, entry_id, kind, payment_id, reference, occurred_at)
    VALUES ('1', lpad(to_hex(:id::bigint + 4), 32, '0')::uuid, 'capture', lpad(to_hex(:id::bigint + 3), 32, '0')::uuid,
    'capture', now());
INSERT INTO ledger_postings (merchant_id, entry_id, line_no, debit, credit, currency, amount_minor)
    VALUES ('1', lpad(to_hex(:id::bigint + 4), 32, '0')::uuid, 1, 'provider.simulated', 'merchant.1', 'INR', 300);
UPDATE reservations SET state = 'consumed', ended_at = now()
    WHERE merchant_id = '1' AND checkout_id = lpad(to_hex(:id::bigint + 1), 32, '0')::uuid AND state = 'held';
INSERT INTO stock_journal (merchant_id, channel, product_id, kind, reference, quantity, at)
    VALUES ('1', 'shop', 'p' || :a::int, 'sold', lpad(to_hex(:id::bigint + 1), 32, '0')::uuid::text, 1, now()),
    ('1', 'shop', 'p' || :b::int, 'sold', lpad(to_hex(:id::bigint + 1), 32, '0')::uuid::text, 1, now());
UPDATE idempotency_keys SET state = 'done', status = 200, answer = decode(repeat('ab', 180), 'hex')
    WHERE merchant_id = '1' AND caller = 'user:1' AND operation = 'POST /checkout/process' AND key = 'key-' || :id::bigint AND
    state <> 'done';
INSERT INTO event_counters (merchant_id, subject, last) VALUES ('1', 'checkout:' || lpad(to_hex(:id::bigint + 1), 32, '0')::uuid, 1),
    ('1', 'order:' || lpad(to_hex(:id::bigint + 2), 32, '0')::uuid, 1), ('1', 'payment:' || lpad(to_hex(:id::bigint + 3), 32, '0')::uuid, 1)
    ON CONFLICT (merchant_id, subject) DO UPDATE SET last = event_counters.last + 1;
INSERT INTO events (merchant_id, event_id, subject, sequence, type, occurred_at, data, traceparent)
    VALUES ('1', lpad(to_hex(:id::bigint + 14), 32, '0')::uuid, 'checkout:' || lpad(to_hex(:id::bigint + 1), 32, '0')::uuid, 2, 'checkout.completed',
    now(), '{"checkout_id":"01a201c7-5277-78aa-a2dc-5ca3bab5471a","order_id":"01a201c7-5277-7365-b998-cfdac5599d7c","payment_id":"01a201c7-5277-70b8-aa3f-a96b586d2643","status":"completed","error": null}',
    '00-0954e7779ba22dbef4db96600a5a8b8e-2913df6ab575f2d7-00'),
    ('1', lpad(to_hex(:id::bigint + 15), 32, '0')::uuid, 'order:' || lpad(to_hex(:id::bigint + 2), 32, '0')::uuid, 2, 'order.paid',
    now(), '{"order_id":"01a201c7-5277-7365-b998-cfdac5599d7c","order_number":"ORD-20261122-0MY7DKZN","status":"paid","payment_status":"paid","payment_id":"01a201c7-5277-70b8-aa3f-a96b586d2643","user_id":"1","total":"2.00","currency":"INR","items":[{"product_id":"p3577","quantity": 1,"price":"1.00"},{"product_id":"p4266","quantity": 1,"price":"1.00"}]}',
    '00-0954e7779ba22dbef4db96600a5a8b8e-2913df6ab575f2d7-00'),
    ('1', lpad(to_hex(:id::bigint + 16), 32, '0')::uuid, 'payment:' || lpad(to_hex(:id::bigint + 3), 32, '0')::uuid, 2, 'payment.paid',
    now(), '{"payment_id":"01a201c7-5277-70b8-aa3f-a96b586d2643","order_id":"01a201c7-5277-7365-b998-cfdac5599d7c","status": 2,"status_name":"PAYMENT_FINISHED","state":"paid","provider":"simulated","amount":"1","price":"2.00","currency":"INR","captured":"2.00","refunded":"0.00","reason": null}',
    '00-0954e7779ba22dbef4db96600a5a8b8e-2913df6ab575f2d7-00');
COMMIT;
