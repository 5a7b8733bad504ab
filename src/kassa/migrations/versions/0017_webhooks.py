"""Webhooks: merchants' endpoints, what each is to be told, and each attempt at it."""

from __future__ import annotations

from kassa.migrations import run

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

UP = """
-- The id of a delivery follows from its event and its endpoint, so that an event's own statement can make it: the time of the
-- event, then a hash.
CREATE FUNCTION kassa_delivery_id(event_id uuid, endpoint_id uuid) RETURNS uuid LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT (left(event_id::text, 18) || '-a' || substr(hash, 1, 3) || '-' || substr(hash, 4, 12))::uuid
      FROM md5(event_id::text || endpoint_id::text) AS hash
$$;

-- An endpoint's health stands in its row, so that all processes know it: `failures` in a row, `throttled` to one request at a
-- time, `paused_until` with its breaker open. Whoever changes its deliveries locks this row first.
CREATE TABLE endpoints (
    merchant_id text NOT NULL,
    endpoint_id uuid NOT NULL,
    url text NOT NULL CHECK (length(url) <= 2048),
    events text[] NOT NULL CHECK (cardinality(events) BETWEEN 1 AND 20),
    format text NOT NULL CHECK (format IN ('payment', 'event')),
    ordered boolean NOT NULL,
    description text,
    hidden boolean NOT NULL DEFAULT false,
    status text NOT NULL DEFAULT 'enabled' CHECK (status IN ('enabled', 'disabled')),
    disabled_reason text CHECK (disabled_reason IN ('manual', 'gone', 'failing')),
    secret bytea NOT NULL,
    old_secret bytea,
    old_secret_until timestamptz,
    failures integer NOT NULL DEFAULT 0 CHECK (failures >= 0),
    throttled boolean NOT NULL DEFAULT false,
    paused_until timestamptz,
    pause_s integer NOT NULL DEFAULT 0,
    attempts_since_success integer NOT NULL DEFAULT 0,
    good_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    deleted_at timestamptz,
    CHECK ((status = 'disabled') = (disabled_reason IS NOT NULL)),
    CHECK ((old_secret IS NULL) = (old_secret_until IS NULL))
) WITH (fillfactor = 50);
CREATE UNIQUE INDEX endpoints_hidden ON endpoints (merchant_id) WHERE hidden AND deleted_at IS NULL;
CREATE INDEX endpoints_living ON endpoints (merchant_id) WHERE deleted_at IS NULL;
ALTER TABLE endpoints ADD PRIMARY KEY (merchant_id, endpoint_id);

-- No foreign key to the endpoint: endpoints are never deleted for good, and a check of each event would lock their busy rows.
CREATE TABLE deliveries (
    merchant_id text NOT NULL,
    endpoint_id uuid NOT NULL,
    delivery_id uuid NOT NULL,
    event_id uuid NOT NULL,
    event_type text NOT NULL,
    subject text NOT NULL,
    sequence integer NOT NULL,
    status text NOT NULL CHECK (status IN ('pending', 'processing', 'success', 'retrying', 'blocked', 'failed')),
    replayed boolean NOT NULL DEFAULT false,
    attempts integer NOT NULL DEFAULT 0,
    tries integer NOT NULL DEFAULT 0 CHECK (tries BETWEEN 0 AND attempts),
    next_at timestamptz,
    queued_until timestamptz,
    began_at timestamptz,
    lease_until timestamptz,
    lease_version integer NOT NULL DEFAULT 0,
    last_status_code integer,
    last_error text,
    created_at timestamptz NOT NULL,
    ended_at timestamptz,
    CHECK ((status IN ('pending', 'retrying')) = (next_at IS NOT NULL)),
    CHECK ((status = 'processing') = (lease_until IS NOT NULL)),
    CHECK ((status IN ('success', 'failed')) = (ended_at IS NOT NULL))
) WITH (fillfactor = 80);
CREATE INDEX deliveries_due ON deliveries (merchant_id, endpoint_id, next_at) WHERE status IN ('pending', 'retrying');
CREATE INDEX deliveries_held ON deliveries (merchant_id, endpoint_id, lease_until) WHERE status = 'processing';
CREATE INDEX deliveries_open ON deliveries (merchant_id, endpoint_id, subject, sequence)
    WHERE status NOT IN ('success', 'failed') AND NOT replayed;
CREATE INDEX deliveries_blocked ON deliveries (merchant_id, endpoint_id, delivery_id) WHERE status = 'blocked';
CREATE INDEX deliveries_dead ON deliveries (merchant_id, endpoint_id, delivery_id) WHERE status = 'failed';
CREATE INDEX deliveries_dead_since ON deliveries (merchant_id, endpoint_id, ended_at) WHERE status = 'failed';
CREATE UNIQUE INDEX deliveries_of_event ON deliveries (merchant_id, event_id, endpoint_id);
ALTER TABLE deliveries ADD PRIMARY KEY (merchant_id, endpoint_id, delivery_id);

CREATE TABLE delivery_attempts (
    merchant_id text NOT NULL,
    endpoint_id uuid NOT NULL,
    delivery_id uuid NOT NULL,
    number integer NOT NULL CHECK (number > 0),
    began_at timestamptz NOT NULL,
    duration_ms integer,
    status_code integer,
    error text CHECK (error IN ('timeout', 'connect', 'tls', 'dns', 'refused_address', 'redirect', 'status', 'cut')),
    response text,
    PRIMARY KEY (merchant_id, endpoint_id, delivery_id, number)
);

-- The table of logs that an older installation read, as a view of the events of payments and of what merchants were told of them;
-- OFFSET makes it one for reading only.
CREATE SCHEMA payments;
CREATE VIEW payments.payment_logs AS
    SELECT * FROM (
        SELECT e.event_id AS id, e.merchant_id, split_part(e.subject, ':', 2)::uuid AS payment_id,
               CASE e.type WHEN 'payment.created' THEN 1 WHEN 'payment.waiting' THEN 2 WHEN 'payment.unknown' THEN 2
                           WHEN 'payment.paid' THEN 3
                           WHEN 'payment.declined' THEN CASE WHEN starts_with(e.data->>'reason', 'provider_') THEN 2 ELSE 3 END
                           WHEN 'payment.cancelled' THEN 5 WHEN 'payment.expired' THEN 7 WHEN 'payment.reversed' THEN 8 ELSE 6 END
                   AS event_type,
               CASE e.type WHEN 'payment.declined' THEN 3 WHEN 'refund.failed' THEN 3 WHEN 'refund.created' THEN 1
                           WHEN 'payment.unknown' THEN 6 ELSE 2 END AS status,
               e.type AS message, e.data::jsonb AS payload, e.occurred_at AS "timestamp"
          FROM public.events e WHERE starts_with(e.subject, 'payment:')
        UNION ALL
        SELECT d.delivery_id, d.merchant_id, split_part(d.subject, ':', 2)::uuid, 4,
               CASE d.status WHEN 'pending' THEN 1 WHEN 'success' THEN 2 WHEN 'failed' THEN 3 WHEN 'retrying' THEN 4
                             WHEN 'blocked' THEN 5 ELSE 6 END,
               d.event_type,
               jsonb_build_object('delivery_id', d.delivery_id, 'endpoint_id', d.endpoint_id, 'event_id', d.event_id,
                                  'attempts_made', d.attempts, 'last_status_code', d.last_status_code, 'last_error', d.last_error),
               d.created_at
          FROM public.deliveries d WHERE starts_with(d.subject, 'payment:')) told
    OFFSET 0;
"""

DOWN = """
DROP VIEW payments.payment_logs;
DROP SCHEMA payments;
DROP TABLE delivery_attempts;
DROP TABLE deliveries;
DROP TABLE endpoints;
DROP FUNCTION kassa_delivery_id(uuid, uuid);
"""


def upgrade() -> None:
    """Make the tables, and the view."""
    run(UP)


def downgrade() -> None:
    """Drop them; for development only."""
    run(DOWN)
