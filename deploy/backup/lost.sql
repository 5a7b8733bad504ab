-- What was done after a moment: run it on a copy that was brought back to the `end`, before the shop opens again on one of that moment.
--   psql -v since="2026-05-03 14:20:00 UTC" -f lost.sql
\set ON_ERROR_STOP on
\pset null '-'

\echo 'Orders that were placed: tell these buyers; their money stands under the key in the provider''s statement'
SELECT o.merchant_id AS merchant, o.order_number, o.status, o.buyer_id AS buyer, c.customer_email AS email, p.provider_key AS key,
       p.payment_id, p.captured_minor AS captured, p.refunded_minor AS refunded, o.currency, o.created_at AS at
  FROM orders o JOIN payments p USING (merchant_id, payment_id) JOIN checkouts c USING (merchant_id, checkout_id)
 WHERE o.created_at > :'since'::timestamptz ORDER BY o.created_at;

\echo 'Money that came in for anything else: orders of before, and merchants'' payments'
SELECT p.merchant_id AS merchant, p.ref_kind, p.ref, p.payment_id, p.provider_key AS key, p.captured_minor AS captured, p.currency, e.occurred_at AS at
  FROM ledger_entries e JOIN payments p USING (merchant_id, payment_id)
 WHERE e.kind = 'capture' AND e.occurred_at > :'since'::timestamptz
   AND NOT EXISTS (SELECT FROM orders o WHERE o.merchant_id = p.merchant_id AND o.payment_id = p.payment_id AND o.created_at > :'since'::timestamptz)
 ORDER BY e.occurred_at;

\echo 'Money that went back, for payments of before: `given` is what `kassa payments refund --given` wants'
SELECT r.merchant_id AS merchant, r.payment_id, r.amount_minor AS amount, r.currency, coalesce(r.provider_ref, r.refund_id::text) AS given, r.status, r.reason, r.updated_at AS at
  FROM refunds r JOIN payments p USING (merchant_id, payment_id)
 WHERE r.updated_at > :'since'::timestamptz AND p.created_at <= :'since'::timestamptz ORDER BY r.updated_at;

\echo 'Stock that left or came: what the shelves of the restored database have too much'
SELECT merchant_id AS merchant, channel, product_id AS product, sum(CASE kind WHEN 'sold' THEN -quantity ELSE quantity END) AS change
  FROM stock_journal WHERE at > :'since'::timestamptz AND kind <> 'initial'
 GROUP BY merchant_id, channel, product_id ORDER BY merchant_id, channel, product_id;

\echo 'Acts by hand: keys that were revoked, endpoints, people, orders that were moved; do again what still counts'
SELECT merchant_id AS merchant, at, who_kind || ':' || who_name AS who, act, subject, why, what
  FROM audit_log WHERE at > :'since'::timestamptz ORDER BY at, merchant_id, place;

\echo 'Events that merchants may have seen: numbers of these subjects will be given again'
SELECT merchant_id AS merchant, count(*) AS events, count(DISTINCT subject) AS subjects, min(occurred_at) AS first, max(occurred_at) AS last
  FROM events WHERE occurred_at > :'since'::timestamptz GROUP BY merchant_id ORDER BY merchant_id;
