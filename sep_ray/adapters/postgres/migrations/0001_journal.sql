-- The journal: what happened, in order, unchangeable; and the keys under which it was asked for.

CREATE TABLE events (
    seq bigint NOT NULL UNIQUE,  -- dense, in commit order: given out under one advisory lock
    stream_id text NOT NULL,
    version integer NOT NULL CHECK (version > 0),
    aggregate text NOT NULL GENERATED ALWAYS AS (split_part(stream_id, '/', 1)) STORED
        CHECK (aggregate IN ('intent', 'step', 'attempt', 'account', 'strategy')),
    kind text NOT NULL,
    body json NOT NULL,  -- json, not jsonb: the hash covers the text as written
    occurred_at bigint NOT NULL,  -- milliseconds since 1970, UTC
    correlation_id uuid NOT NULL,
    causation_id uuid,
    previous_hash bytea NOT NULL CHECK (length(previous_hash) = 32),
    hash bytea NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (stream_id, version)
);
CREATE INDEX events_aggregate ON events (aggregate, seq);
CREATE INDEX events_occurred_at ON events USING brin (occurred_at);
CREATE INDEX events_correlation ON events (correlation_id, seq);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the journal is append-only' USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TABLE idempotency_keys (
    principal text NOT NULL,
    key text NOT NULL,
    digest bytea NOT NULL,
    intent_id uuid NOT NULL,
    created_at bigint NOT NULL,
    PRIMARY KEY (principal, key)
);

CREATE TABLE cursors (
    name text PRIMARY KEY,
    seq bigint NOT NULL CHECK (seq >= 0)
);

-- The holder of this lock, until it commits, is the only one who may write to the journal.
CREATE FUNCTION lock_journal() RETURNS void LANGUAGE sql AS $$
    SELECT pg_advisory_xact_lock(7305237)
$$;
