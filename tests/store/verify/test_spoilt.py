"""One thing is spoilt at a time, and exactly that is found: by the number of its invariant and by its sentence."""

from __future__ import annotations

import contextlib
from dataclasses import asdict

import pytest
from tests.store.verify.street import Street

from kassa import verify
from kassa.verify import deliveries
from kassa.verify.run import QUESTIONS

AT_ONCE = 200
"""Small windows, so that whatever is found must be found in pieces."""
PENDING_FOR_LONG = "interval '26 hours'"
ENTRY = "(SELECT entry_id FROM ledger_entries WHERE payment_id = '{0}' AND kind = '{1}')"
CAPTURE, REFUND = ENTRY.format("{bought.payment}", "capture"), ENTRY.format("{cancelled.payment}", "refund")
A_CARD = "4111111111111111"
LINK, HEAD = "A line of the audit log does not follow", "The head of an audit log is not its last line"

SPOILT: dict[str, tuple[str, set[tuple[int, str]]]] = {
    # ── 1: the ledger ────────────────────────────────────────────────────────────────────────────────────────────────
    "a posting of another amount": (
        f"UPDATE ledger_postings SET amount_minor = amount_minor - 1 WHERE entry_id = {CAPTURE}",
        {(1, "A paid payment has not exactly one capture"), (2, "Captured minus refunded is not the payment's balance")},
    ),
    "a posting in another currency": (
        f"UPDATE ledger_postings SET currency = 'UZS' WHERE entry_id = {CAPTURE}",
        {(1, "A paid payment has not exactly one capture"), (2, "Captured minus refunded is not the payment's balance")},
    ),
    "a capture for another account": (
        f"UPDATE ledger_postings SET debit = 'provider:somebody' WHERE entry_id = {CAPTURE}",
        {(1, "A paid payment has not exactly one capture")},
    ),
    "a second capture": (
        """
        WITH e AS (INSERT INTO ledger_entries SELECT merchant_id, gen_random_uuid(), kind, payment_id, 'again', occurred_at
                     FROM ledger_entries WHERE payment_id = '{bought.payment}' RETURNING *)
        INSERT INTO ledger_postings SELECT merchant_id, entry_id, 1, 'provider:simulated', 'merchant:' || merchant_id, 'INR', 44970 FROM e
        """,
        {(1, "A paid payment has not exactly one capture"), (2, "Captured minus refunded is not the payment's balance")},
    ),
    "an entry without postings": (
        "INSERT INTO ledger_entries VALUES ('{bought.merchant}', gen_random_uuid(), 'reversal', '{bought.payment}', 'x', now())",
        {(1, "A ledger entry has no postings")},
    ),
    "a capture that vanished": (
        f"DELETE FROM ledger_postings WHERE entry_id = {CAPTURE}",
        {
            (1, "A ledger entry has no postings"),
            (1, "A paid payment has not exactly one capture"),
            (2, "Captured minus refunded is not the payment's balance"),
        },
    ),
    "a capture of a payment that was declined": (
        """
        WITH e AS (INSERT INTO ledger_entries VALUES ('{declined.merchant}', gen_random_uuid(), 'capture', '{declined.payment}', 'x', now())
                   RETURNING *)
        INSERT INTO ledger_postings SELECT merchant_id, entry_id, 1, 'provider:simulated', 'merchant:' || merchant_id, 'INR', 5 FROM e
        """,
        {(1, "A capture is booked for a payment that is not paid"), (2, "Captured minus refunded is not the payment's balance")},
    ),
    "a refund booked with another amount": (
        f"UPDATE ledger_postings SET amount_minor = amount_minor + 1 WHERE entry_id = {REFUND}",
        {(1, "A refund that succeeded has not exactly one entry"), (2, "Captured minus refunded is not the payment's balance")},
    ),
    "a refund booked for none": (
        f"UPDATE ledger_entries SET reference = 'nobody' WHERE entry_id = {REFUND}",
        {(1, "A refund that succeeded has not exactly one entry"), (1, "A refund is booked that did not succeed")},
    ),
    "lines that do not sum to zero": (
        "CREATE OR REPLACE VIEW ledger_lines AS SELECT merchant_id, entry_id, line_no, debit AS account, currency, amount_minor FROM ledger_postings"
        " UNION ALL SELECT merchant_id, entry_id, line_no, credit, currency,"
        f" CASE WHEN entry_id = {CAPTURE} THEN 1 - amount_minor ELSE -amount_minor END FROM ledger_postings",
        {(1, "A ledger entry does not sum to zero")},
    ),
    # ── 2: sums ──────────────────────────────────────────────────────────────────────────────────────────────────────
    "more captured than asked for": (
        "UPDATE payments SET captured_minor = amount_minor + 1 WHERE payment_id = '{bought.payment}'",
        {(2, "A payment's sums contradict each other"), (2, "Captured minus refunded is not the payment's balance")},
    ),
    "more refunded than captured": (
        "UPDATE payments SET refunded_minor = captured_minor + 1 WHERE payment_id = '{outside_paid.payment}'",
        {
            (2, "A payment's sums contradict each other"),
            (2, "Captured minus refunded is not the payment's balance"),
            (2, "A payment's refunds sum to something else"),
        },
    ),
    "refunded without a refund": (
        "UPDATE payments SET refunded_minor = 1 WHERE payment_id = '{outside_paid.payment}'",
        {(2, "Captured minus refunded is not the payment's balance"), (2, "A payment's refunds sum to something else")},
    ),
    "a refund under way that the payment does not know": (
        "UPDATE payments SET refunding_minor = 0 WHERE payment_id = '{outside_refunded.payment}'",
        {(2, "A payment's refunds sum to something else")},
    ),
    "a refund in another currency": (
        "UPDATE refunds SET currency = 'UZS' WHERE payment_id = '{cancelled.payment}'",
        {(2, "A payment's refunds sum to something else"), (1, "A refund that succeeded has not exactly one entry")},
    ),
    "a line of an order that is gone": (
        "DELETE FROM order_lines WHERE order_id = '{paid.order}' AND product_id = 'lamp'",
        {(2, "An order's lines do not sum to its total"), (3, "Stock was sold without a completed checkout")},
    ),
    "a line whose sum is wrong": (
        "UPDATE order_lines SET price_minor = price_minor + 1 WHERE order_id = '{paid.order}' AND product_id = 'lamp'",
        {(2, "An order's lines do not sum to its total")},
    ),
    "a total that is not the sum of its parts": (
        "UPDATE orders SET tax_minor = 1 WHERE order_id = '{paid.order}'",
        {(2, "An order's lines do not sum to its total")},
    ),
    "a payment of another sum than its order": (
        "UPDATE orders SET total_minor = total_minor + 1, tax_minor = 1 WHERE order_id = '{paid.order}'",
        {(2, "An order, its payment and its checkout do not name the same sum")},
    ),
    "a checkout in another currency than its order": (
        "UPDATE checkouts SET currency = 'UZS' WHERE checkout_id = '{paid.checkout}'",
        {(2, "An order, its payment and its checkout do not name the same sum")},
    ),
    # ── 3: purchases ─────────────────────────────────────────────────────────────────────────────────────────────────
    "an order that is gone": (
        "DELETE FROM orders WHERE order_id = '{three_services.order}'",
        {
            (3, "A checkout has not its one order"),
            (3, "An order and its payment do not name each other"),
            (3, "Money was taken that belongs to nothing"),
        },
    ),
    "an order without a checkout": (
        """
        INSERT INTO orders SELECT (o).* FROM (SELECT jsonb_populate_record(o, jsonb_build_object('order_id', gen_random_uuid(),
            'checkout_id', gen_random_uuid(), 'order_number', 'ORD-0')) AS o FROM orders o WHERE order_id = '{refused.order}') x
        """,
        {
            (2, "An order's lines do not sum to its total"),
            (3, "A checkout has not its one order"),
            (3, "An order names a payment that is not for it"),
            (6, "An order is not where its timeline and its events end"),
            (7, "Something exists whose first event does not (order)"),
        },
    ),
    "an order of another payment": (
        "UPDATE orders SET payment_id = gen_random_uuid() WHERE order_id = '{paid.order}'",
        {
            (3, "A checkout has not its one order"),
            (3, "An order and its payment do not name each other"),
            (3, "An order names a payment that is not for it"),
        },
    ),
    "a payment for another order": (
        "UPDATE payments SET ref = '{bought.order}' WHERE payment_id = '{charged.payment}'",
        {
            (3, "An order and its payment do not name each other"),
            (3, "An order names a payment that is not for it"),
            (3, "Money was taken that belongs to nothing"),  # that order is another merchant's
        },
    ),
    "a completed checkout without money": (
        "UPDATE checkouts SET status = 'completed' WHERE checkout_id = '{refused.checkout}'",
        {
            (3, "A checkout and its payment contradict each other"),
            (3, "A completed checkout did not take its own tracked stock once"),
            (6, "A checkout has ended, and its journal has not"),
            (7, "A checkout ended, and its events tell it otherwise"),
        },
    ),
    "money for a checkout that was undone": (
        "UPDATE checkouts SET status = 'undone' WHERE checkout_id = '{three_services.checkout}'",
        {
            (3, "A checkout and its payment contradict each other"),
            (3, "Money was taken that belongs to nothing"),
            (6, "A checkout and its order contradict each other"),
            (6, "A checkout has ended, and its journal has not"),
            (7, "A checkout ended, and its events tell it otherwise"),
        },
    ),
    "a buyer who may still pay for what was undone": (
        "UPDATE payments SET status = 'waiting', holds_reference = true WHERE payment_id = '{link_cancelled.payment}'",
        {
            (3, "A checkout and its payment contradict each other"),
            (6, "A payment is not where its events end"),
            (6, "An order shows another payment status"),
        },
    ),
    "a cancelled order whose money nobody gives back": (
        "DELETE FROM refunds WHERE payment_id = '{stuck_refund.payment}'",
        {(2, "A payment's refunds sum to something else")},
    ),
    "money of a parked checkout that is on no list": (
        "UPDATE cases SET closed_at = now() WHERE subject = 'checkout:{stuck_restock.checkout}'",
        {(3, "A parked checkout is on nobody's list")},
    ),
    "a refund for a person that is on no list": (
        "UPDATE cases SET closed_at = now() WHERE subject = 'checkout:{stuck_refund.checkout}'"
        " OR subject IN (SELECT 'refund:' || refund_id FROM refunds WHERE payment_id = '{stuck_refund.payment}')",
        {(3, "A parked checkout is on nobody's list"), (3, "A refund that needs a person is on nobody's list")},
    ),
    "two paid payments for one order of a merchant": (
        "UPDATE payments SET ref = (SELECT ref FROM payments WHERE payment_id = '{outside_paid.payment}'), refunding_minor = 0"
        " WHERE payment_id = '{outside_refunded.payment}'",
        {
            (3, "More than one payment was paid for one reference"),
            (2, "A payment's refunds sum to something else"),
            (8, "A reference is held by two payments"),
        },
    ),
    "a sale of fewer than were ordered": (
        "UPDATE stock_journal SET quantity = 1 WHERE reference = '{bought.checkout}' AND product_id = 'mouse'",
        {
            (3, "A completed checkout did not take its own tracked stock once"),
            (4, "Stock on hand"),
            (4, "A reservation and the stock journal disagree"),
        },
    ),
    "a completed checkout without its reservation": (
        "DELETE FROM reservations WHERE checkout_id = '{bought.checkout}' AND product_id = 'mouse'",
        {
            (3, "A completed checkout did not take its own tracked stock once"),
            (4, "The stock journal has a sale or a return that no reservation of its product explains"),
        },
    ),
    "a completed checkout that never touched its stock": (
        """
        WITH r AS (DELETE FROM reservations WHERE checkout_id = '{bought.checkout}' AND product_id = 'mouse' RETURNING *),
             j AS (DELETE FROM stock_journal WHERE reference = '{bought.checkout}' AND product_id = 'mouse' RETURNING quantity)
        UPDATE stock_levels s SET available = available + j.quantity FROM j WHERE merchant_id = '{bought.merchant}' AND product_id = 'mouse'
        """,
        {(3, "A completed checkout did not take its own tracked stock once")},
    ),
    "a cancelled order whose stock never came back": (
        """
        WITH j AS (DELETE FROM stock_journal WHERE reference = '{cancelled.checkout}' AND kind = 'returned' RETURNING *),
             r AS (UPDATE reservations SET returned = 0 WHERE checkout_id = '{cancelled.checkout}')
        UPDATE stock_levels s SET available = available - j.quantity FROM j
         WHERE s.merchant_id = j.merchant_id AND s.product_id = j.product_id
        """,
        {(3, "Sold stock did not come back exactly where its order was cancelled")},
    ),
    "stock that came back from an order that stands": (
        """
        WITH j AS (INSERT INTO stock_journal SELECT merchant_id, channel, product_id, 'returned', reference, quantity, at
                     FROM stock_journal WHERE reference = '{paid.checkout}' AND product_id = 'mouse' RETURNING *),
             r AS (UPDATE reservations SET returned = quantity WHERE checkout_id = '{paid.checkout}' AND product_id = 'mouse')
        UPDATE stock_levels s SET available = available + j.quantity FROM j
         WHERE s.merchant_id = j.merchant_id AND s.product_id = j.product_id
        """,
        {(3, "Sold stock did not come back exactly where its order was cancelled")},
    ),
    "lines that a refund put back and that nobody brought": (
        """
        WITH j AS (DELETE FROM stock_journal WHERE left(reference, 36) = '{lines_given_back.checkout}' AND kind = 'returned' RETURNING *),
             r AS (UPDATE reservations SET returned = 0 WHERE checkout_id = '{lines_given_back.checkout}')
        UPDATE stock_levels s SET available = available - j.quantity FROM j
         WHERE s.merchant_id = j.merchant_id AND s.product_id = j.product_id
        """,
        {(3, "Sold stock did not come back exactly where its order was cancelled, or a refund put it back")},
    ),
    "lines that came back though their refund left them with the buyer": (
        "UPDATE refund_lines SET restock = false WHERE refund_id IN (SELECT refund_id FROM refunds WHERE payment_id = '{lines_given_back.payment}')",
        {(3, "Sold stock did not come back exactly where its order was cancelled, or a refund put it back")},
    ),
    "two paid payments of a merchant's order": (
        "UPDATE payments SET ref = 'paid' WHERE payment_id = '{late,_the_newer.payment}'",
        {
            (3, "More than one payment was paid for one reference"),
            (8, "A reference is held by two payments"),
        },
    ),
    "a payment that no attempt holds any more": (
        "UPDATE payments SET held_by = NULL WHERE payment_id = '{payme_held.payment}'",
        {(6, "A payment is held by an attempt that is over, or an attempt holds a payment that does not know")},
    ),
    "a payment that is held by an attempt that is over": (
        "UPDATE payme_transactions SET state = -1, cancel_ms = create_ms, reason = 4 WHERE payment_id = '{payme_held.payment}'",
        {(6, "A payment is held by an attempt that is over")},
    ),
    "a payment that is held by another payment's attempt": (
        "UPDATE payments SET held_by = (SELECT transaction_id FROM payme_transactions WHERE payment_id = '{payme_held.payment}')"
        " WHERE payment_id = '{payme_waits.payment}'",
        {(6, "A payment is held by an attempt that is over")},
    ),
    "a payment that was paid and not performed": (
        "DELETE FROM payme_transactions WHERE payment_id = '{payme_paid.payment}'",
        {(3, "Payme has performed or returned what its payment does not show, or a payment is paid that Payme has not performed")},
    ),
    "a performed attempt of a payment that is not paid": (
        "UPDATE payme_transactions SET state = 2, perform_ms = create_ms WHERE payment_id = '{payme_held.payment}'",
        {
            (3, "Payme has performed or returned what its payment does not show"),
            (6, "A payment is held by an attempt that is over"),
        },
    ),
    "money that Payme returned and we did not": (
        "UPDATE payme_transactions SET state = -2, cancel_ms = perform_ms, reason = 5 WHERE payment_id = '{payme_paid.payment}'",
        {(3, "Payme has performed or returned what its payment does not show")},
    ),
    "a payment that Payme performed twice": (
        """
        INSERT INTO payme_transactions SELECT (t).* FROM (SELECT jsonb_populate_record(t, jsonb_build_object('transaction_id',
            gen_random_uuid(), 'payme_id', 'twice')) AS t FROM payme_transactions t WHERE payment_id = '{payme_outside.payment}') x
        """,
        {(3, "Payme has performed or returned what its payment does not show")},
    ),
    "an attempt for another sum": (
        "UPDATE payme_transactions SET amount_minor = amount_minor + 1 WHERE payment_id = '{payme_returned.payment}'",
        {(6, "An attempt of Payme is for another sum or currency than its payment")},
    ),
    "a paid ambassador that the buyer has not": (
        "DELETE FROM bought_lines WHERE order_id = '{payme_paid.order}' AND product_id = '2'",
        {(3, "A buyer has not exactly the lines of a paid order of ambassadors")},
    ),
    "an ambassador that the buyer has kept": (
        "UPDATE bought_lines SET given_back_at = NULL WHERE order_id = '{payme_returned.order}'",
        {(3, "A buyer has not exactly the lines of a paid order of ambassadors")},
    ),
    "an ambassador that the buyer was given for another price": (
        "UPDATE bought_lines SET price_minor = price_minor - 1 WHERE order_id = '{payme_paid.order}' AND product_id = '1'",
        {(3, "A buyer has not exactly the lines of a paid order of ambassadors")},
    ),
    # ── 4: stock ─────────────────────────────────────────────────────────────────────────────────────────────────────
    "a level that was changed by hand": (
        "UPDATE stock_levels SET available = available - 1 WHERE merchant_id = '{bought.merchant}' AND product_id = 'mouse'",
        {(4, "Stock on hand")},
    ),
    "a level below zero": (
        "UPDATE stock_levels SET available = -1 WHERE merchant_id = '{bought.merchant}' AND product_id = 'mouse'",
        {(4, "A stock level is below zero"), (4, "Stock on hand")},
    ),
    "taken for nobody": (
        "UPDATE stock_levels SET available = available - 1 WHERE merchant_id = '{paid.merchant}' AND product_id = 'lamp'",
        {(4, "Stock on hand")},
    ),
    "held without being taken": (
        """
        UPDATE reservations SET quantity = quantity + 1
         WHERE ctid = (SELECT min(ctid) FROM reservations WHERE state = 'held' AND source = 'own')
        """,
        {(4, "Stock on hand")},
    ),
    "held for a checkout that is over": (
        """
        WITH l AS (UPDATE stock_levels SET available = available - 1 WHERE merchant_id = '{refused.merchant}' RETURNING 1)
        UPDATE reservations SET state = 'held', ended_at = NULL WHERE checkout_id = '{refused.checkout}'
        """,
        {(4, "Stock is held for a checkout that is over")},
    ),
    "a sale that was released": (
        "UPDATE reservations SET state = 'released' WHERE checkout_id = '{paid.checkout}' AND product_id = 'lamp'",
        {
            (3, "A completed checkout did not take its own tracked stock once"),
            (4, "A reservation and the stock journal disagree"),
        },
    ),
    "a sale of a checkout that nobody knows": (
        "INSERT INTO stock_journal VALUES ('{bought.merchant}', 'shop', 'mouse', 'sold', 'nobody', 1, now())",
        {
            (3, "Stock was sold without a completed checkout"),
            (4, "Stock on hand"),
            (4, "The stock journal has a sale or a return that no reservation of its product explains"),
        },
    ),
    "more came back than was sold": (
        "INSERT INTO stock_journal VALUES ('{bought.merchant}', 'shop', 'mouse', 'returned', 'nobody', 1, now())",
        {
            (4, "Stock on hand"),
            (4, "The stock journal has a sale or a return that no reservation of its product explains"),
        },
    ),
    "a return under a name that no refund has": (
        """
        WITH j AS (UPDATE stock_journal SET reference = left(reference, 36) || ':nobody'
                    WHERE left(reference, 36) = '{lines_given_back.checkout}' AND kind = 'returned' RETURNING 1)
        SELECT * FROM j
        """,
        {
            (3, "Sold stock did not come back exactly where its order was cancelled, or a refund put it back"),
            (4, "What came back is not what its reservation counts"),
        },
    ),
    "a reservation that counts what never came back": (
        "UPDATE reservations SET returned = 1 WHERE checkout_id = '{paid.checkout}' AND product_id = 'mouse'",
        {(4, "What came back is not what its reservation counts")},
    ),
    "a reservation that forgot what came back in parts": (
        "UPDATE reservations SET returned = 1 WHERE checkout_id = '{lines_given_back.checkout}' AND product_id = 'mouse'",
        {(4, "What came back is not what its reservation counts")},
    ),
    "more came back of a sale than was sold, and all agree on it": (
        """
        WITH j AS (UPDATE stock_journal SET quantity = 4
                    WHERE left(reference, 36) = '{lines_given_back.checkout}' AND kind = 'returned' RETURNING *),
             r AS (UPDATE reservations SET returned = 4 WHERE checkout_id = '{lines_given_back.checkout}' AND product_id = 'mouse'),
             l AS (UPDATE refund_lines SET quantity = 4 WHERE line_id = 'mouse' AND restock)
        UPDATE stock_levels s SET available = available + 2 FROM j
         WHERE s.merchant_id = j.merchant_id AND s.product_id = j.product_id
        """,
        {(4, "What came back is not what its reservation counts, or more than was sold")},
    ),
    # ── 5: nothing lies about ────────────────────────────────────────────────────────────────────────────────────────
    "a checkout that waits beyond its deadline": (
        "UPDATE checkouts SET deadline = kassa_now() - interval '31 minutes' WHERE checkout_id = '{waits.checkout}'",
        {(5, "A checkout is unfinished 30 minutes past its deadline")},
    ),
    "an undo that nobody has tried for a day": (
        "UPDATE checkouts SET status = 'undoing', next_at = now(), deadline = now() - interval '2 days', updated_at = now() - interval '2 days'"
        " WHERE checkout_id = '{stuck_restock.checkout}'",
        {(5, "An undo has not come to its end")},
    ),
    "an undo after the end that nobody lists": (
        "UPDATE checkout_steps SET status = 'undoing', undo_since = now() - interval '2 days'"
        " WHERE checkout_id = '{services_cancelled.checkout}' AND step = 'inventory'",
        {(5, "An undo has not come to its end")},
    ),
    "a payment that is unknown for days": (
        "UPDATE payments SET unknown_since = kassa_now() - interval '74 hours' WHERE payment_id = '{silent.payment}'",
        {(5, "A payment is unknown beyond 72 h")},
    ),
    "a refund that is pending for days": (
        f"UPDATE refunds SET created_at = created_at - {PENDING_FOR_LONG} WHERE payment_id = '{{outside_refunded.payment}}' AND status = 'pending'",
        {(5, "A refund has been pending for longer than its plan")},
    ),
    "a refund of a link that is pending beyond its 72 hours": (
        "UPDATE refunds SET first_sent_at = kassa_now() - interval '74 hours' WHERE payment_id = '{given_back,_pending.payment}'",
        {(5, "A refund has been pending for longer than its plan")},
    ),
    "a payment of no order that nobody closed": (
        "UPDATE payments SET expires_at = kassa_now() - interval '31 minutes' WHERE payment_id = '{asked.payment}'",
        {(5, "A payment of no order is pending 30 minutes past its end")},
    ),
    "a payment by key that nobody closed": (
        """
        WITH e AS (UPDATE events SET type = 'payment.waiting', data = jsonb_set(data::jsonb, '{{state}}', '"waiting"')::json
                    WHERE subject = 'payment:{by_key.payment}' AND type = 'payment.paid' RETURNING 1),
             l AS (DELETE FROM ledger_postings WHERE entry_id IN (SELECT entry_id FROM ledger_entries WHERE payment_id = '{by_key.payment}')),
             x AS (DELETE FROM ledger_entries WHERE payment_id = '{by_key.payment}')
        UPDATE payments SET status = 'waiting', captured_minor = 0, expires_at = kassa_now() - interval '31 minutes'
         WHERE payment_id = '{by_key.payment}'
        """,
        {(5, "A payment of no order is pending 30 minutes past its end")},
    ),
    "stock held for a payment that is not known": (
        "UPDATE reservations SET held_until = kassa_now() - interval '31 minutes' WHERE checkout_id = '{silent.checkout}'",
        {(5, "Stock is held 30 minutes past its time")},
    ),
    "a charge at Payme that nobody has ended": (
        "INSERT INTO payme_charges (merchant_id, payment_id, state, next_at, created_at, updated_at)"
        " SELECT merchant_id, payment_id, 'begun', now(), kassa_now() - interval '25 hours', now()"
        " FROM payments WHERE payment_id = '{payme_waits.payment}'",
        {(5, "A charge of a card at Payme has not come to its end")},
    ),
    "a charge at Payme that is called paid and was not": (
        "INSERT INTO payme_charges (merchant_id, payment_id, receipt_id, state, created_at, updated_at)"
        " SELECT merchant_id, payment_id, 'r', 'paid', now(), now() FROM payments WHERE payment_id = '{payme_waits.payment}'",
        {(3, "A charge of a card at Payme is called paid, and its payment has no money")},
    ),
    "a charge at Payme of a payment that is not Payme's": (
        "INSERT INTO payme_charges (merchant_id, payment_id, receipt_id, state, created_at, updated_at)"
        " SELECT merchant_id, payment_id, 'r', 'paid', now(), now() FROM payments WHERE payment_id = '{bought.payment}'",
        {(3, "A charge of a card at Payme belongs to no payment at Payme")},
    ),
    "an attempt at Payme that nobody has ended": (
        "UPDATE payme_transactions SET deadline_ms = (extract(epoch FROM kassa_now()) * 1000)::bigint - 31 * 60000"
        " WHERE payment_id = '{payme_held.payment}'",
        {(5, "An attempt of Payme is in state 1 30 minutes past its end")},
    ),
    # ── 6: moves ─────────────────────────────────────────────────────────────────────────────────────────────────────
    "a timeline with a gap": (
        "DELETE FROM order_timeline WHERE order_id = '{delivered.order}' AND sequence = 3",
        {(6, "An order's timeline has a move that is not allowed")},
    ),
    "a move that is not allowed": (
        "UPDATE order_timeline SET status = 'cancelled' WHERE order_id = '{delivered.order}' AND sequence = 2",
        {
            (6, "An order's timeline has a move that is not allowed"),
            (6, "An order's timeline and its events tell different things"),
        },
    ),
    "an order that did not begin as pending": (
        "UPDATE order_timeline SET status = 'paid' WHERE order_id = '{delivered.order}' AND sequence = 1",
        {
            (6, "An order's timeline has a move that is not allowed"),
            (6, "An order's timeline and its events tell different things"),
        },
    ),
    "an order moved by hand": (
        "UPDATE orders SET status = 'processing' WHERE order_id = '{paid.order}'",
        {(6, "An order is not where its timeline and its events end")},
    ),
    "an order whose version was turned on": (
        "UPDATE orders SET version = version + 1 WHERE order_id = '{paid.order}'",
        {(6, "An order is not where its timeline and its events end")},
    ),
    "an event of an order that tells something else": (
        "UPDATE events SET type = 'order.shipped' WHERE subject = 'order:{paid.order}' AND sequence = 2",
        {(6, "An order's timeline and its events tell different things")},
    ),
    "a payment moved by hand": (
        "UPDATE payments SET status = 'expired' WHERE payment_id = '{declined.payment}'",
        {(6, "A payment is not where its events end")},
    ),
    "a payment that went a way that is not allowed": (
        "UPDATE events SET data = jsonb_set(data::jsonb, '{{state}}', '\"refunded\"')::json WHERE subject = 'payment:{asked_and_paid.payment}' AND sequence = 2",
        {(6, "A payment made a move that is not allowed")},
    ),
    "a holder that is over": (
        "UPDATE payments SET holds_reference = true WHERE payment_id = '{declined.payment}'",
        {(6, "A payment holds its reference though it is over")},
    ),
    "a paid payment that holds nothing": (
        "UPDATE payments SET holds_reference = false WHERE payment_id = '{bought.payment}'",
        {(6, "A payment holds its reference though it is over")},
    ),
    "a checkout that parts from its order": (
        "UPDATE checkouts SET status = 'paying' WHERE checkout_id = '{asked_and_refused.checkout}'",
        {(3, "A checkout and its payment contradict each other"), (6, "A checkout and its order contradict each other")},
    ),
    "an order that shows money it never had": (
        "UPDATE orders SET payment_status = 'paid' WHERE order_id = '{cash.order}'",
        {(6, "An order shows another payment status"), (6, "An order is not where its timeline and its events end")},
    ),
    "a journal that never ended": (
        "UPDATE checkout_steps SET status = 'running' WHERE checkout_id = '{three_services.checkout}' AND step = 'inventory'",
        {(6, "A checkout has ended, and its journal has not")},
    ),
    "a journal with an act too few": (
        "DELETE FROM checkout_steps WHERE checkout_id = '{three_services.checkout}' AND step = 'inventory'",
        {(6, "A checkout has ended, and its journal has not")},
    ),
    "an act that was never undone": (
        "UPDATE checkout_steps SET status = 'done' WHERE checkout_id = '{no_order.checkout}' AND step = 'inventory'",
        {(6, "A checkout has ended, and its journal has not")},
    ),
    "a cart that stands where it was ordered": (
        "UPDATE carts SET version = 0 WHERE cart_id = (SELECT cart_id FROM checkouts WHERE checkout_id = '{paid.checkout}')",
        {(6, "A cart has not moved on")},
    ),
    # ── 6: acts by hand ──────────────────────────────────────────────────────────────────────────────────────────────
    "a line of the audit log that is gone": (
        "DELETE FROM audit_log WHERE merchant_id = '{three_acts.merchant}' AND place = 2",
        {(6, LINK)},
    ),
    "the first line of the audit log that is gone": (
        "DELETE FROM audit_log WHERE merchant_id = '{three_acts.merchant}' AND place = 1",
        {(6, LINK)},
    ),
    "a line of the audit log in place of another": (
        "UPDATE audit_log SET hash = sha256('another'), act = 'payment.refund' WHERE merchant_id = '{three_acts.merchant}' AND place = 2",
        {(6, LINK)},
    ),
    "a first line of the audit log that follows something": (
        "UPDATE audit_log SET previous = sha256('another') WHERE merchant_id = '{three_acts.merchant}' AND place = 1",
        {(6, LINK)},
    ),
    "a line of the audit log before the first": (
        "INSERT INTO audit_log SELECT merchant_id, 0, who_kind, who_name, act, subject, why, what, request_id, at, previous, hash"
        " FROM audit_log WHERE merchant_id = '{three_acts.merchant}' AND place = 1",
        {(6, LINK)},
    ),
    "the last line of the audit log that is gone": (
        "DELETE FROM audit_log WHERE merchant_id = '{three_acts.merchant}' AND place = 3",
        {(6, HEAD)},
    ),
    "an audit log that is gone": ("DELETE FROM audit_log WHERE merchant_id = '{two_acts.merchant}'", {(6, HEAD)}),
    "a line behind the head of the audit log": (
        "INSERT INTO audit_log SELECT merchant_id, 4, who_kind, who_name, act, subject, why, what, request_id, at, hash, sha256('x')"
        " FROM audit_log WHERE merchant_id = '{three_acts.merchant}' AND place = 3",
        {(6, HEAD)},
    ),
    "a head of the audit log that says another hash": (
        "UPDATE audit_heads SET hash = sha256('another') WHERE merchant_id = '{three_acts.merchant}'",
        {(6, HEAD)},
    ),
    "a head of the audit log that is gone": (
        "DELETE FROM audit_heads WHERE merchant_id = '{three_acts.merchant}'",
        {(6, HEAD)},
    ),
    # ── 7: events ────────────────────────────────────────────────────────────────────────────────────────────────────
    "a counter that ran ahead": (
        "UPDATE event_counters SET last = last + 1 WHERE subject = 'checkout:{bought.checkout}'",
        {(7, "Events of a subject are not numbered from 1")},
    ),
    "an event that is gone": (
        "DELETE FROM events WHERE subject = 'payment:{asked_and_paid.payment}' AND type = 'payment.unknown'",
        {(7, "Events of a subject are not numbered from 1")},
    ),
    "a counter that is gone": (
        "DELETE FROM event_counters WHERE subject = 'checkout:{bought.checkout}'",
        {(7, "Events of a subject are not numbered from 1")},
    ),
    "a first event that is another": (
        "UPDATE events SET type = 'payment.waiting' WHERE subject = 'payment:{declined.payment}' AND sequence = 1",
        {(7, "Something exists whose first event does not (payment)")},
    ),
    "a first event of a checkout that is another": (
        "UPDATE events SET type = 'checkout.waiting' WHERE subject = 'checkout:{declined.checkout}' AND sequence = 1",
        {(7, "Something exists whose first event does not (checkout)")},
    ),
    "an end that was told as another": (
        "UPDATE events SET type = 'checkout.undone' WHERE subject = 'checkout:{bought.checkout}' AND type = 'checkout.completed'",
        {(7, "A checkout ended, and its events tell it otherwise")},
    ),
    "a payment that nobody told of": (
        "UPDATE events SET type = 'payment.waiting' WHERE subject = 'payment:{bought.payment}' AND type = 'payment.paid'",
        {(7, "Money moved, and no event tells it")},
    ),
    "a refund that nobody told of": (
        "UPDATE events SET type = 'refund.created' WHERE subject = 'payment:{cancelled.payment}' AND type = 'refund.succeeded'",
        {(7, "Money moved, and no event tells it")},
    ),
    "a buyer who was told out of turn": (
        """
        INSERT INTO notices (merchant_id, notice_id, order_id, event_id, type, status, place, next_at, created_at, updated_at)
        SELECT merchant_id, gen_random_uuid(), '{paid.order}', event_id, 'status_update',
               CASE sequence WHEN 1 THEN 'pending' ELSE 'sent' END, sequence, now(), now(), now()
          FROM events WHERE subject = 'order:{paid.order}'
        """,
        {(7, "A buyer was told of an order out of turn")},
    ),
    # ── 8: keys ──────────────────────────────────────────────────────────────────────────────────────────────────────
    "a second checkout under one key": (
        "UPDATE checkouts c SET idempotency = o.idempotency FROM checkouts o"
        " WHERE o.checkout_id = '{bought.checkout}' AND c.checkout_id = '{unknown_product.checkout}'",
        {(8, "An idempotency key stands for another checkout")},
    ),
    "a key without its answer": (
        "UPDATE idempotency_keys SET state = 'running', answer = NULL, status = NULL WHERE key = 'the-first-key'",
        {(8, "A checkout is over, and its idempotency key has no answer")},
    ),
    "an answer that promises a payment without a link": (
        """INSERT INTO idempotency_keys (merchant_id, caller, operation, key, payload, subject, state, status, answer, created_at, expires_at)
           SELECT merchant_id, 'merchant', 'POST /api/v1/payments', 'key-of-nothing', 'x', payment_id::text, 'done', 200, 'x',
                  now(), now() + interval '1 day'
             FROM payments WHERE payment_id = '{outside_declined.payment}'""",
        {(8, "An idempotency key keeps an answer for a payment that failed for want of a link")},
    ),
    "a key that is done and says nothing": (
        "UPDATE idempotency_keys SET answer = NULL WHERE key = 'the-first-key'",
        {
            (8, "A checkout is over, and its idempotency key has no answer"),
            (8, "An idempotency key is done without an answer"),
        },
    ),
    "two payments under one key of the provider": (
        "UPDATE payments SET provider_key = 'one' WHERE payment_id IN ('{charged.payment}', '{refused.payment}')",
        {(8, "Two payments would be charged under one key")},
    ),
    "two refunds under one key of the provider": (
        "UPDATE refunds SET provider_key = 'one' WHERE payment_id = '{outside_refunded.payment}'",
        {(8, "Two refunds would be sent under one key")},
    ),
    "a cart version that became two checkouts": (
        "UPDATE checkouts c SET cart_id = o.cart_id, cart_version = o.cart_version FROM checkouts o"
        " WHERE o.checkout_id = '{paid.checkout}' AND c.checkout_id = '{order_declined.checkout}'",
        {(8, "A cart version became two checkouts")},
    ),
    # ── 11: tokens ───────────────────────────────────────────────────────────────────────────────────────────────────
    "a token that no payment spent": (
        "UPDATE subscriptions SET tokens_used = tokens_used + 1 WHERE merchant_id = '{asked.merchant}'",
        {(11, "A subscription's used tokens are not the payments that spent one")},
    ),
    "a token that was given back twice": (
        "UPDATE subscriptions SET tokens_used = tokens_used - 1 WHERE merchant_id = '{asked.merchant}'",
        {(11, "A subscription's used tokens are not the payments that spent one")},
    ),
    "more tokens used than bought": (
        "UPDATE subscriptions SET tokens_total = tokens_used - 1 WHERE merchant_id = '{asked.merchant}'",
        {(11, "A subscription's used tokens are not the payments that spent one")},
    ),
    "a payment with a link that spent no token": (
        """
        WITH s AS (UPDATE subscriptions SET tokens_used = tokens_used - 1 WHERE merchant_id = '{asked.merchant}')
        UPDATE payments SET token_plan = NULL WHERE payment_id = '{asked.payment}'
        """,
        {(11, "A merchant's payment spent no token though its link was made")},
    ),
    "a payment without a link that kept its token": (
        """
        WITH s AS (UPDATE subscriptions SET tokens_used = tokens_used + 1 WHERE merchant_id = '{asked.merchant}' RETURNING plan_id)
        UPDATE payments SET token_plan = plan_id FROM s WHERE payment_id = '{no_link.payment}'
        """,
        {(11, "A merchant's payment spent no token though its link was made, or still has one though it was not")},
    ),
    "a token of a plan that the merchant never had": (
        "UPDATE payments SET token_plan = 'nobody''s' WHERE payment_id = '{asked.payment}'",
        {(11, "A subscription's used tokens are not the payments that spent one")},
    ),
    # ── 12: cards ────────────────────────────────────────────────────────────────────────────────────────────────────
    "a card number in a note": (
        f"UPDATE order_timeline SET note = 'paid with {A_CARD}, thanks' WHERE order_id = '{{delivered.order}}' AND sequence = 3",
        {(12, "A card number is at rest")},
    ),
    "a card number in an address": (
        "UPDATE orders SET shipping_address = '{{\"street\": \"4111 1111 1111 1111\"}}' WHERE order_id = '{paid.order}'",
        {(12, "A card number is at rest")},
    ),
    "a card number in an event": (
        f"UPDATE events SET data = (data::jsonb || '{{{{\"reason\": \"card {A_CARD} declined\"}}}}')::json WHERE subject = 'payment:{{declined.payment}}' AND sequence = 2",
        {(12, "A card number is at rest")},
    ),
    "a security code in a document": (
        "UPDATE checkouts SET idempotency = idempotency || '{{\"card_cvv\": \"123\"}}' WHERE checkout_id = '{bought.checkout}'",
        {(12, "A card's security code is at rest")},
    ),
}


class Undo(Exception):
    """Takes back what a test has spoilt."""


async def found_after(street: Street, sql: str) -> list[verify.Breach]:
    names = {name.replace(" ", "_"): story for name, story in street.stories.items()}
    found: list[verify.Breach] = []
    with contextlib.suppress(Undo):
        async with street.db.transaction("spoil") as tx:
            touched = await tx.execute(sql.format_map(names))
            assert touched or sql.startswith("CREATE"), "nothing was spoilt"
            for number, _ in verify.INVARIANTS:
                found += await verify.check(tx, number, AT_ONCE)
            raise Undo
    return found


IN_TIME = {
    "a refund of a link after a day: its plan has three": (
        "UPDATE refunds SET first_sent_at = kassa_now() - interval '72 hours' WHERE payment_id = '{given_back,_pending.payment}'"
    ),
    "a refund of a link that waits for a person": (
        "UPDATE refunds SET first_sent_at = kassa_now() - interval '300 hours' WHERE payment_id = '{given_back,_impossible.payment}'"
    ),
    "an attempt at Payme that ended a moment ago": (
        "UPDATE payme_transactions SET deadline_ms = (extract(epoch FROM kassa_now()) * 1000)::bigint - 29 * 60000"
        " WHERE payment_id = '{payme_held.payment}'"
    ),
    "a charge at Payme that is still asked about": (
        "INSERT INTO payme_charges (merchant_id, payment_id, receipt_id, state, next_at, created_at, updated_at)"
        " SELECT merchant_id, payment_id, 'r', 'paying', now(), kassa_now() - interval '24 hours', now()"
        " FROM payments WHERE payment_id = '{payme_waits.payment}'"
    ),
    "a link that ended a moment ago": (
        "UPDATE payments SET expires_at = kassa_now() - interval '29 minutes' WHERE payment_id = '{asked.payment}'"
    ),
}
"""What is late, and not too late: nothing is found."""


@pytest.mark.parametrize("late", IN_TIME)
async def test_what_is_still_in_time_is_not_found(unguarded: Street, late: str) -> None:
    assert await found_after(unguarded, IN_TIME[late]) == []


@pytest.mark.parametrize("spoilt", SPOILT)
async def test_exactly_what_was_spoilt_is_found(unguarded: Street, spoilt: str) -> None:
    sql, expected = SPOILT[spoilt]
    found = await found_after(unguarded, sql)
    said = {(breach.invariant, next((start for number, start in expected if number == breach.invariant and breach.text.startswith(start)), breach.text))
            for breach in found}  # fmt: skip
    assert said == expected
    assert all(asdict(breach)["subject"] and breach.merchant_id for breach in found)


def test_every_question_is_spoilt_once() -> None:
    """By a sentence that is that question's alone, so that one spoilt thing cannot stand for two questions."""
    expected = {one for _, said in SPOILT.values() for one in said}
    own = {
        question.says
        for number, start in expected
        if len(fits := [each for each in QUESTIONS if each.invariant == number and each.says.startswith(start)]) == 1
        for question in fits
    }
    # Those of deliveries are spoilt where there are merchants to be told.
    assert [each.says for each in QUESTIONS if each.says not in own and each not in deliveries.QUESTIONS] == []


def test_no_two_questions_say_the_same() -> None:
    assert len({(question.invariant, question.says) for question in QUESTIONS}) == len(QUESTIONS)
