-- What a commit under a lease or with ledger lines is judged by, and writing it: a question and an
-- answer each, because the journal is locked meanwhile and every further one costs all who wait.

-- Say where things stand, for whoever has locked the journal: the newest seq, the last version and
-- hash of streams, the leases that stand (nobody can take them until the transaction ends), the
-- units of balances and the attempts on nonces. A place counts from 1 in what was asked.
CREATE FUNCTION standing(
    streams text[], leases_asked text[], strategies text[], assets text[], buckets text[],
    chains bigint[], accounts text[], nonces bigint[],
    OUT newest bigint,
    OUT head_places bigint[], OUT head_versions integer[], OUT head_hashes bytea[],
    OUT lease_names text[], OUT lease_epochs bigint[],
    OUT unit_places bigint[], OUT units numeric[],
    OUT live_places bigint[], OUT live_ids uuid[]
) LANGUAGE plpgsql AS $$
BEGIN
    SELECT coalesce(max(e.seq), 0) INTO newest FROM events AS e;
    SELECT array_agg(s.place), array_agg(e.version), array_agg(e.hash)
    INTO head_places, head_versions, head_hashes
    FROM unnest(streams) WITH ORDINALITY AS s (stream_id, place)
    CROSS JOIN LATERAL (
        SELECT version, hash FROM events
        WHERE stream_id = s.stream_id ORDER BY version DESC LIMIT 1
    ) AS e;
    IF cardinality(leases_asked) > 0 THEN
        SELECT array_agg(l.name), array_agg(l.epoch) INTO lease_names, lease_epochs
        FROM (
            SELECT name, epoch FROM leases
            WHERE name = ANY (leases_asked) AND expires_at > clock_timestamp()
            ORDER BY name
            FOR SHARE
        ) AS l;
    END IF;
    IF cardinality(strategies) > 0 THEN
        SELECT array_agg(n.place), array_agg(b.units) INTO unit_places, units
        FROM unnest(strategies, assets, buckets)
            WITH ORDINALITY AS n (strategy_id, asset, bucket, place)
        JOIN balances AS b USING (strategy_id, asset, bucket);
    END IF;
    IF cardinality(nonces) > 0 THEN
        SELECT array_agg(n.place), array_agg(a.id) INTO live_places, live_ids
        FROM unnest(chains, accounts, nonces)
            WITH ORDINALITY AS n (chain_id, account, nonce, place)
        JOIN attempts AS a USING (chain_id, account, nonce)
        WHERE a.status IN ('PREPARED', 'BROADCAST', 'INCLUDED', 'REVERTED', 'NEEDS_OPERATOR');
    END IF;
END $$;

-- Write events, the steps and attempts that they move, ledger lines and the balances after them.
-- Attempts that have ended come first, so that a nonce given back and taken anew in one go never
-- has two live ones. Whoever follows the journal is woken when the transaction commits.
CREATE FUNCTION commit_guarded(
    seqs bigint[], streams text[], versions integer[], kinds text[], bodies text[], ats bigint[],
    correlations uuid[], causations uuid[], previous bytea[], hashes bytea[],
    step_ids uuid[], step_intents uuid[], ordinals integer[], step_chains bigint[],
    step_statuses text[], priorities float8[], dues bigint[], deadlines bigint[],
    step_versions integer[], step_bodies text[],
    attempt_ids uuid[], attempt_steps uuid[], attempt_chains bigint[], accounts text[],
    nonces bigint[], attempt_statuses text[], tx_hashes text[], attempt_versions integer[],
    attempt_bodies text[],
    line_seqs bigint[], lines integer[], line_correlations uuid[], line_strategies text[],
    line_chains bigint[], line_assets text[], line_buckets text[], deltas numeric[],
    proofs text[], line_accounts text[],
    balance_strategies text[], balance_chains bigint[], balance_assets text[],
    balance_buckets text[], balance_units numeric[]
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO events (
        seq, stream_id, version, kind, body, occurred_at, correlation_id, causation_id,
        previous_hash, hash
    )
    SELECT n.seq, n.stream, n.version, n.kind, n.body::json, n.at, n.correlation, n.causation,
        n.previous, n.hash
    FROM unnest(
        seqs, streams, versions, kinds, bodies, ats, correlations, causations, previous, hashes
    ) AS n (seq, stream, version, kind, body, at, correlation, causation, previous, hash);
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
    INSERT INTO attempts (id, step_id, chain_id, account, nonce, status, hashes, version, body)
    SELECT n.id, n.step, n.chain, n.account, n.nonce, n.status, string_to_array(n.hashes, ' '),
        n.version, n.body::json
    FROM unnest(
        attempt_ids, attempt_steps, attempt_chains, accounts, nonces, attempt_statuses, tx_hashes,
        attempt_versions, attempt_bodies
    ) AS n (id, step, chain, account, nonce, status, hashes, version, body)
    ON CONFLICT (id) DO UPDATE
    SET status = excluded.status, hashes = excluded.hashes, version = excluded.version,
        body = excluded.body;
    IF cardinality(line_seqs) > 0 THEN
        INSERT INTO account_units AS a (account, chain_id, asset, units)
        SELECT n.account, n.chain, n.asset, sum(n.delta)
        FROM unnest(line_accounts, line_chains, line_assets, line_buckets, deltas)
            AS n (account, chain, asset, bucket, delta)
        WHERE n.account <> '' AND n.bucket IN ('available', 'reserved')
        GROUP BY n.account, n.chain, n.asset
        ON CONFLICT (account, asset) DO UPDATE SET units = a.units + excluded.units;
        INSERT INTO postings (
            seq, line, correlation_id, strategy_id, chain_id, asset, bucket, delta, proof, account
        )
        SELECT * FROM unnest(
            line_seqs, lines, line_correlations, line_strategies, line_chains, line_assets,
            line_buckets, deltas, proofs, line_accounts
        );
        INSERT INTO balances (strategy_id, chain_id, asset, bucket, units)
        SELECT * FROM unnest(
            balance_strategies, balance_chains, balance_assets, balance_buckets, balance_units
        )
        ON CONFLICT (strategy_id, asset, bucket) DO UPDATE SET units = excluded.units;
    END IF;
    IF cardinality(seqs) > 0 THEN
        PERFORM pg_notify('events', '');
    END IF;
END $$;

-- A body stays in its row as it is, up to 8 KB: compressing a plan's 3 KB took half the time of
-- writing it.
ALTER TABLE events SET (toast_tuple_target = 8160);
ALTER TABLE attempts SET (toast_tuple_target = 8160);
ALTER TABLE steps SET (toast_tuple_target = 8160);
