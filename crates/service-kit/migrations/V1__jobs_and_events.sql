-- Background work. A row is claimed with a lease; whoever holds no valid lease may not write to it.
CREATE TABLE jobs (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind        text        NOT NULL,
    subject     text        NOT NULL,
    state       jsonb       NOT NULL DEFAULT '{}',
    attempts    integer     NOT NULL DEFAULT 0,
    not_before  timestamptz NOT NULL,
    lease_owner uuid,
    lease_until timestamptz,
    failure     text,
    created_at  timestamptz NOT NULL,
    done_at     timestamptz
);
-- One open job of a kind for a subject: asking twice is asking once.
CREATE UNIQUE INDEX jobs_open ON jobs (kind, subject) WHERE done_at IS NULL;
CREATE INDEX jobs_due ON jobs (kind, not_before, id) WHERE done_at IS NULL;

-- The outbox: what happened, written in the transaction in which it happened. NOTIFY is only a wake-up.
CREATE TABLE events (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at       timestamptz NOT NULL,
    audience text        NOT NULL,
    body     jsonb       NOT NULL
);
CREATE INDEX events_by_audience ON events (audience, id);
