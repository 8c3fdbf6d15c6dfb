-- Write commits that move no money and stand under no lease, all at once. They were judged before;
-- whoever appended to one of their streams since makes the primary key refuse the whole. The
-- journal is locked for this statement alone, and no client is waited for meanwhile.
CREATE FUNCTION commit_plain(
    streams text[], versions integer[], kinds text[], bodies text[], ats bigint[],
    correlations uuid[], causations uuid[], previous bytea[], hashes bytea[],
    intent_ids uuid[], strategies text[], types text[], intent_chains bigint[],
    intent_statuses text[], intent_versions integer[], intent_bodies text[],
    step_ids uuid[], step_intents uuid[], ordinals integer[], step_chains bigint[],
    step_statuses text[], priorities float8[], dues bigint[], deadlines bigint[],
    step_versions integer[], step_bodies text[]
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    newest bigint;
BEGIN
    PERFORM lock_journal();
    SELECT coalesce(max(seq), 0) INTO newest FROM events;
    INSERT INTO events (
        seq, stream_id, version, kind, body, occurred_at, correlation_id, causation_id,
        previous_hash, hash
    )
    SELECT newest + n.place, n.stream, n.version, n.kind, n.body::json, n.at, n.correlation,
        n.causation, n.previous, n.hash
    FROM unnest(streams, versions, kinds, bodies, ats, correlations, causations, previous, hashes)
        WITH ORDINALITY AS n (
            stream, version, kind, body, at, correlation, causation, previous, hash, place
        );
    INSERT INTO intents (id, strategy_id, type, chain_id, status, version, body)
    SELECT n.id, n.strategy, n.type, n.chain, n.status, n.version, n.body::json
    FROM unnest(
        intent_ids, strategies, types, intent_chains, intent_statuses, intent_versions,
        intent_bodies
    ) AS n (id, strategy, type, chain, status, version, body)
    ON CONFLICT (id) DO UPDATE
    SET status = excluded.status, version = excluded.version, body = excluded.body;
    INSERT INTO steps (
        id, intent_id, ordinal, chain_id, status, priority, due, deadline, version, body
    )
    SELECT n.id, n.intent, n.ordinal, n.chain, n.status, n.priority, n.due, n.deadline, n.version,
        n.body::json
    FROM unnest(
        step_ids, step_intents, ordinals, step_chains, step_statuses, priorities, dues, deadlines,
        step_versions, step_bodies
    ) AS n (id, intent, ordinal, chain, status, priority, due, deadline, version, body)
    ON CONFLICT (id) DO UPDATE
    SET status = excluded.status, priority = excluded.priority, due = excluded.due,
        deadline = excluded.deadline, version = excluded.version, body = excluded.body;
    PERFORM pg_notify('events', '');
    RETURN newest;
END $$;

-- Accepting wakes nobody: the router is told by message which intents are new, and what it decides
-- wakes whoever follows the journal, a few milliseconds later. Without the message all see it at
-- their next look. For who submits alone, waking every reader was an eighth of the time.
CREATE OR REPLACE FUNCTION accept_intent(
    id uuid, strategy text, type text, chain bigint, principal text, key text, digest bytea,
    at bigint, state text, body text, hash bytea
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF key IS NOT NULL THEN
        INSERT INTO idempotency_keys (principal, key, digest, intent_id, created_at)
        VALUES (principal, key, digest, id, at)
        ON CONFLICT DO NOTHING;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'a key is taken' USING ERRCODE = 'SEP01';
        END IF;
    END IF;
    INSERT INTO intents (id, strategy_id, type, chain_id, status, version, body)
    VALUES (id, strategy, type, chain, 'ACCEPTED', 1, state::json)
    ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'an intent is known' USING ERRCODE = 'SEP01';
    END IF;
    PERFORM lock_journal();
    INSERT INTO events (
        seq, stream_id, version, kind, body, occurred_at, correlation_id, previous_hash, hash
    )
    VALUES (
        (SELECT coalesce(max(e.seq), 0) + 1 FROM events AS e), 'intent/' || id, 1, 'IntentAccepted',
        body::json, at, id, decode(repeat('00', 32), 'hex'), hash
    );
END $$;

CREATE OR REPLACE FUNCTION accept_intents(
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
END $$;
