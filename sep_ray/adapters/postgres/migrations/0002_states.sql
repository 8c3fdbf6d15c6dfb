-- What the streams add up to, written in the same transaction as their events. `body` is the
-- whole state; the columns beside it are what queries need. The checks repeat the state machines.

CREATE TABLE intents (
    id uuid PRIMARY KEY,
    strategy_id text NOT NULL,
    type text NOT NULL CHECK (type IN ('ACQUIRE', 'DISPOSE', 'REBALANCE', 'LIQUIDATE', 'BRIDGE')),
    chain_id bigint NOT NULL,
    status text NOT NULL CHECK (status IN (
        'ACCEPTED', 'ACTIVE', 'CANCELLING', 'COMPLETED', 'PARTIALLY_COMPLETED', 'CANCELLED',
        'EXPIRED', 'REJECTED', 'FAILED'
    )),
    version integer NOT NULL CHECK (version > 0),
    body json NOT NULL
);
CREATE INDEX intents_strategy ON intents (strategy_id, id);
CREATE INDEX intents_status ON intents (status, id);

CREATE TABLE steps (
    id uuid PRIMARY KEY,
    intent_id uuid NOT NULL,
    ordinal integer NOT NULL CHECK (ordinal >= 0),
    chain_id bigint NOT NULL,
    status text NOT NULL CHECK (status IN (
        'PENDING', 'READY', 'WORKING', 'DONE', 'FAILED', 'SKIPPED', 'CANCELLED', 'EXPIRED'
    )),
    priority double precision NOT NULL,
    due bigint NOT NULL,
    deadline bigint NOT NULL,
    version integer NOT NULL CHECK (version > 0),
    body json NOT NULL
);
CREATE INDEX steps_intent ON steps (intent_id, ordinal);
CREATE INDEX steps_ready ON steps (chain_id, priority DESC, deadline, id) WHERE status = 'READY';
CREATE INDEX steps_ready_deadline ON steps (deadline, intent_id) WHERE status = 'READY';
CREATE INDEX steps_pending_due ON steps (due, intent_id) WHERE status = 'PENDING';

CREATE TABLE attempts (
    id uuid PRIMARY KEY,
    step_id uuid,
    chain_id bigint NOT NULL,
    account text NOT NULL,
    nonce bigint NOT NULL CHECK (nonce >= 0),
    status text NOT NULL CHECK (status IN (
        'PREPARED', 'BROADCAST', 'INCLUDED', 'REVERTED', 'FINAL', 'FINAL_REVERTED', 'REPLACED',
        'DROPPED', 'EXPIRED', 'CANCELLED'
    )),
    hashes text[] NOT NULL,  -- of every signed version
    version integer NOT NULL CHECK (version > 0),
    body json NOT NULL
);
CREATE UNIQUE INDEX attempts_one_live_per_nonce ON attempts (chain_id, account, nonce)
    WHERE status IN ('PREPARED', 'BROADCAST', 'INCLUDED', 'REVERTED');
CREATE INDEX attempts_nonce ON attempts (chain_id, account, nonce) WHERE status <> 'EXPIRED';
CREATE INDEX attempts_step ON attempts (step_id, nonce);
CREATE INDEX attempts_hash ON attempts USING gin (hashes);

CREATE TABLE strategies (
    id text PRIMARY KEY,
    status text NOT NULL CHECK (status IN ('RUNNING', 'PAUSED', 'STOPPED')),
    version integer NOT NULL CHECK (version > 0),
    body json NOT NULL
);

CREATE TABLE strategy_states (
    strategy_id text PRIMARY KEY,
    version bigint NOT NULL CHECK (version > 0),
    state text NOT NULL
);

CREATE TABLE leases (
    name text PRIMARY KEY,
    holder text NOT NULL,
    epoch bigint NOT NULL CHECK (epoch > 0),
    expires_at timestamptz NOT NULL
);

-- Record new intents with their first event and their keys, or nothing at all.
-- One array element per intent; a key may be null. Raises SEP01 when a key or an id exists.
CREATE FUNCTION accept_intents(
    ids uuid[], strategies text[], types text[], chains bigint[], principals text[],
    keys text[], digests bytea[], ats bigint[], states text[], bodies text[], hashes bytea[]
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    written bigint;
    newest bigint;
BEGIN
    IF array_length(array_remove(keys, NULL), 1) > 0 THEN
        INSERT INTO idempotency_keys (principal, key, digest, intent_id, created_at)
        SELECT n.principal, n.key, n.digest, n.id, n.at
        FROM unnest(principals, keys, digests, ids, ats) AS n (principal, key, digest, id, at)
        WHERE n.key IS NOT NULL
        ORDER BY n.principal, n.key  -- always the same order: two batches cannot deadlock
        ON CONFLICT DO NOTHING;
        GET DIAGNOSTICS written = ROW_COUNT;
        IF written <> array_length(array_remove(keys, NULL), 1) THEN
            RAISE EXCEPTION 'a key is taken' USING ERRCODE = 'SEP01';
        END IF;
    END IF;
    INSERT INTO intents (id, strategy_id, type, chain_id, status, version, body)
    SELECT n.id, n.strategy, n.type, n.chain, 'ACCEPTED', 1, n.state::json
    FROM unnest(ids, strategies, types, chains, states) AS n (id, strategy, type, chain, state)
    ORDER BY n.id
    ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS written = ROW_COUNT;
    IF written <> array_length(ids, 1) THEN
        RAISE EXCEPTION 'an intent is known' USING ERRCODE = 'SEP01';
    END IF;
    PERFORM lock_journal();
    SELECT coalesce(max(seq), 0) INTO newest FROM events;
    INSERT INTO events (
        seq, stream_id, version, kind, body, occurred_at, correlation_id, previous_hash, hash
    )
    SELECT newest + n.place, 'intent/' || n.id, 1, 'IntentAccepted', n.body::json, n.at, n.id,
        decode(repeat('00', 32), 'hex'), n.hash
    FROM unnest(ids, bodies, ats, hashes) WITH ORDINALITY AS n (id, body, at, hash, place);
    PERFORM pg_notify('events', '');
END $$;
