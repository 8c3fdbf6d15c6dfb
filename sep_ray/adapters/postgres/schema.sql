CREATE FUNCTION public.accept_intent(id uuid, strategy text, type text, chain bigint, principal text, key text, digest bytea, at bigint, state text, body text, hash bytea) RETURNS void
    LANGUAGE plpgsql
    AS $$
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
CREATE FUNCTION public.accept_intents(ids uuid[], strategies text[], types text[], chains bigint[], principals text[], keys text[], digests bytea[], ats bigint[], states text[], bodies text[], hashes bytea[]) RETURNS void
    LANGUAGE plpgsql
    AS $$
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
CREATE FUNCTION public.commit_guarded(seqs bigint[], streams text[], versions integer[], kinds text[], bodies text[], ats bigint[], correlations uuid[], causations uuid[], previous bytea[], hashes bytea[], step_ids uuid[], step_intents uuid[], ordinals integer[], step_chains bigint[], step_statuses text[], priorities double precision[], dues bigint[], deadlines bigint[], step_versions integer[], step_bodies text[], attempt_ids uuid[], attempt_steps uuid[], attempt_chains bigint[], accounts text[], nonces bigint[], attempt_statuses text[], tx_hashes text[], attempt_versions integer[], attempt_bodies text[], line_seqs bigint[], lines integer[], line_correlations uuid[], line_strategies text[], line_chains bigint[], line_assets text[], line_buckets text[], deltas numeric[], proofs text[], line_accounts text[], balance_strategies text[], balance_chains bigint[], balance_assets text[], balance_buckets text[], balance_units numeric[]) RETURNS void
    LANGUAGE plpgsql
    AS $$
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
CREATE FUNCTION public.commit_plain(streams text[], versions integer[], kinds text[], bodies text[], ats bigint[], correlations uuid[], causations uuid[], previous bytea[], hashes bytea[], intent_ids uuid[], strategies text[], types text[], intent_chains bigint[], intent_statuses text[], intent_versions integer[], intent_bodies text[], step_ids uuid[], step_intents uuid[], ordinals integer[], step_chains bigint[], step_statuses text[], priorities double precision[], dues bigint[], deadlines bigint[], step_versions integer[], step_bodies text[]) RETURNS bigint
    LANGUAGE plpgsql
    AS $$
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
CREATE FUNCTION public.compress_series(series text, segments text) RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    EXECUTE format(
        'ALTER TABLE %I SET (timescaledb.compress, timescaledb.compress_segmentby = %L)',
        series, segments
    );
    PERFORM add_compression_policy(series::regclass, interval '7 days');
END $$;
CREATE FUNCTION public.ensure_partitions(series text, first timestamp with time zone, last timestamp with time zone) RETURNS void
    LANGUAGE plpgsql
    AS $$
DECLARE
    day date;
BEGIN
    IF (SELECT relkind FROM pg_class WHERE oid = series::regclass) <> 'p' THEN
        RETURN;
    END IF;
    FOR day IN
        SELECT generate_series((first AT TIME ZONE 'UTC')::date, (last AT TIME ZONE 'UTC')::date,
            interval '1 day')::date
    LOOP
        IF to_regclass(format('%I', series || to_char(day, '_YYYYMMDD'))) IS NULL THEN
            PERFORM pg_advisory_xact_lock(7305238);
            EXECUTE format(
                'CREATE TABLE IF NOT EXISTS %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)',
                series || to_char(day, '_YYYYMMDD'), series,
                day::timestamp AT TIME ZONE 'UTC', (day + 1)::timestamp AT TIME ZONE 'UTC'
            );
        END IF;
    END LOOP;
END $$;
CREATE FUNCTION public.lock_journal() RETURNS void
    LANGUAGE sql
    AS $$
    SELECT pg_advisory_xact_lock(7305237)
$$;
CREATE FUNCTION public.make_series(series text, columns text, segments text) RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF NOT use_timescale() THEN
        EXECUTE format(
            'CREATE TABLE %I (at timestamptz NOT NULL, %s) PARTITION BY RANGE (at)',
            series, columns
        );
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE %I (at timestamptz NOT NULL, %s)', series, columns);
    PERFORM create_hypertable(series::regclass, 'at', chunk_time_interval => interval '1 day');
    IF current_setting('timescaledb.license', true) = 'timescale' THEN
        PERFORM compress_series(series, segments);
    END IF;
END $$;
CREATE FUNCTION public.refuse_change() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    RAISE EXCEPTION 'the journal is append-only' USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE FUNCTION public.standing(streams text[], leases_asked text[], strategies text[], assets text[], buckets text[], chains bigint[], accounts text[], nonces bigint[], OUT newest bigint, OUT head_places bigint[], OUT head_versions integer[], OUT head_hashes bytea[], OUT lease_names text[], OUT lease_epochs bigint[], OUT unit_places bigint[], OUT units numeric[], OUT live_places bigint[], OUT live_ids uuid[]) RETURNS record
    LANGUAGE plpgsql
    AS $$
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
CREATE FUNCTION public.use_timescale() RETURNS boolean
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') THEN
        RETURN true;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'timescaledb')
        OR current_setting('shared_preload_libraries') NOT LIKE '%timescaledb%' THEN
        RETURN false;
    END IF;
    CREATE EXTENSION timescaledb;
    RETURN true;
EXCEPTION WHEN insufficient_privilege THEN
    RETURN false;
END $$;
CREATE TABLE public.account_units (
    account text NOT NULL,
    chain_id bigint NOT NULL,
    asset text NOT NULL,
    units numeric(78,0) NOT NULL
);
CREATE TABLE public.attempts (
    id uuid NOT NULL,
    step_id uuid,
    chain_id bigint NOT NULL,
    account text NOT NULL,
    nonce bigint NOT NULL,
    status text NOT NULL,
    hashes text[] NOT NULL,
    version integer NOT NULL,
    body json NOT NULL,
    CONSTRAINT attempts_nonce_check CHECK ((nonce >= 0)),
    CONSTRAINT attempts_status_check CHECK ((status = ANY (ARRAY['PREPARED'::text, 'BROADCAST'::text, 'INCLUDED'::text, 'REVERTED'::text, 'NEEDS_OPERATOR'::text, 'FINAL'::text, 'FINAL_REVERTED'::text, 'REPLACED'::text, 'DROPPED'::text, 'EXPIRED'::text, 'CANCELLED'::text]))),
    CONSTRAINT attempts_version_check CHECK ((version > 0))
)
WITH (toast_tuple_target='8160');
CREATE TABLE public.balances (
    strategy_id text NOT NULL,
    chain_id bigint NOT NULL,
    asset text NOT NULL,
    bucket text NOT NULL,
    units numeric(78,0) NOT NULL,
    CONSTRAINT holdings_not_negative CHECK (((units >= (0)::numeric) OR (bucket = ANY (ARRAY['funding'::text, 'spent'::text, 'received'::text, 'gas'::text]))))
);
CREATE TABLE public.chain_marks (
    strategy_id text NOT NULL,
    chain_id bigint NOT NULL,
    at bigint NOT NULL,
    body json NOT NULL
);
CREATE TABLE public.cursors (
    name text NOT NULL,
    seq bigint NOT NULL,
    CONSTRAINT cursors_seq_check CHECK ((seq >= 0))
);
CREATE TABLE public.events (
    seq bigint NOT NULL,
    stream_id text NOT NULL,
    version integer NOT NULL,
    aggregate text GENERATED ALWAYS AS (split_part(stream_id, '/'::text, 1)) STORED NOT NULL,
    kind text NOT NULL,
    body json NOT NULL,
    occurred_at bigint NOT NULL,
    correlation_id uuid NOT NULL,
    causation_id uuid,
    previous_hash bytea NOT NULL,
    hash bytea NOT NULL,
    CONSTRAINT events_aggregate_check CHECK ((aggregate = ANY (ARRAY['intent'::text, 'step'::text, 'attempt'::text, 'account'::text, 'strategy'::text, 'transfer'::text, 'policy'::text, 'halt'::text]))),
    CONSTRAINT events_hash_check CHECK ((length(hash) = 32)),
    CONSTRAINT events_previous_hash_check CHECK ((length(previous_hash) = 32)),
    CONSTRAINT events_version_check CHECK ((version > 0))
)
WITH (toast_tuple_target='8160');
CREATE TABLE public.gas_ticks (
    at timestamp with time zone NOT NULL,
    chain_id bigint NOT NULL,
    block_number bigint NOT NULL,
    base_fee_wei numeric(78,0) NOT NULL,
    tip_wei numeric(78,0) NOT NULL
)
PARTITION BY RANGE (at);
CREATE TABLE public.halts (
    id uuid NOT NULL,
    scope text NOT NULL,
    target text NOT NULL,
    mode text NOT NULL,
    status text NOT NULL,
    version integer NOT NULL,
    body json NOT NULL,
    CONSTRAINT halts_mode_check CHECK ((mode = ANY (ARRAY['halted'::text, 'reducing'::text]))),
    CONSTRAINT halts_scope_check CHECK ((scope = ANY (ARRAY['intent'::text, 'strategy'::text, 'chain'::text, 'all'::text]))),
    CONSTRAINT halts_status_check CHECK ((status = ANY (ARRAY['ACTIVE'::text, 'RELEASED'::text]))),
    CONSTRAINT halts_version_check CHECK ((version > 0))
);
CREATE TABLE public.idempotency_keys (
    principal text NOT NULL,
    key text NOT NULL,
    digest bytea NOT NULL,
    intent_id uuid NOT NULL,
    created_at bigint NOT NULL
);
CREATE TABLE public.intents (
    id uuid NOT NULL,
    strategy_id text NOT NULL,
    type text NOT NULL,
    chain_id bigint NOT NULL,
    status text NOT NULL,
    version integer NOT NULL,
    body json NOT NULL,
    CONSTRAINT intents_status_check CHECK ((status = ANY (ARRAY['ACCEPTED'::text, 'ACTIVE'::text, 'CANCELLING'::text, 'COMPLETED'::text, 'PARTIALLY_COMPLETED'::text, 'CANCELLED'::text, 'EXPIRED'::text, 'REJECTED'::text, 'FAILED'::text]))),
    CONSTRAINT intents_type_check CHECK ((type = ANY (ARRAY['ACQUIRE'::text, 'DISPOSE'::text, 'REBALANCE'::text, 'LIQUIDATE'::text, 'BRIDGE'::text]))),
    CONSTRAINT intents_version_check CHECK ((version > 0))
);
CREATE TABLE public.leases (
    name text NOT NULL,
    holder text NOT NULL,
    epoch bigint NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    CONSTRAINT leases_epoch_check CHECK ((epoch > 0))
);
CREATE TABLE public.limit_reservations (
    attempt_id uuid NOT NULL,
    place integer NOT NULL,
    limit_id text NOT NULL,
    slot bigint NOT NULL,
    body json NOT NULL
);
CREATE TABLE public.limit_usage (
    limit_id text NOT NULL,
    slot bigint NOT NULL,
    amount numeric(78,0) NOT NULL,
    CONSTRAINT limit_usage_amount_check CHECK ((amount >= (0)::numeric))
);
CREATE TABLE public.market_ticks (
    at timestamp with time zone NOT NULL,
    chain_id bigint NOT NULL,
    base text NOT NULL,
    quote text NOT NULL,
    block_number bigint NOT NULL,
    numerator numeric(78,0) NOT NULL,
    denominator numeric(78,0) NOT NULL,
    CONSTRAINT market_ticks_denominator_check CHECK ((denominator > (0)::numeric))
)
PARTITION BY RANGE (at);
CREATE TABLE public.policies (
    id text NOT NULL,
    version integer NOT NULL,
    body json NOT NULL,
    CONSTRAINT policies_version_check CHECK ((version > 0))
);
CREATE TABLE public.postings (
    seq bigint NOT NULL,
    line integer NOT NULL,
    correlation_id uuid NOT NULL,
    strategy_id text NOT NULL,
    chain_id bigint NOT NULL,
    asset text NOT NULL,
    bucket text NOT NULL,
    delta numeric(78,0) NOT NULL,
    proof text NOT NULL,
    account text DEFAULT ''::text NOT NULL,
    CONSTRAINT postings_bucket_check CHECK ((bucket = ANY (ARRAY['available'::text, 'reserved'::text, 'in_flight'::text, 'refund_due'::text, 'funding'::text, 'spent'::text, 'received'::text, 'gas'::text])))
);
CREATE TABLE public.schema_migrations (
    version integer NOT NULL,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);
CREATE TABLE public.steps (
    id uuid NOT NULL,
    intent_id uuid NOT NULL,
    ordinal integer NOT NULL,
    chain_id bigint NOT NULL,
    status text NOT NULL,
    priority double precision NOT NULL,
    due bigint NOT NULL,
    deadline bigint NOT NULL,
    version integer NOT NULL,
    body json NOT NULL,
    CONSTRAINT steps_ordinal_check CHECK ((ordinal >= 0)),
    CONSTRAINT steps_status_check CHECK ((status = ANY (ARRAY['PENDING'::text, 'READY'::text, 'WORKING'::text, 'DONE'::text, 'FAILED'::text, 'SKIPPED'::text, 'CANCELLED'::text, 'EXPIRED'::text]))),
    CONSTRAINT steps_version_check CHECK ((version > 0))
)
WITH (toast_tuple_target='8160');
CREATE TABLE public.strategies (
    id text NOT NULL,
    status text NOT NULL,
    version integer NOT NULL,
    body json NOT NULL,
    CONSTRAINT strategies_status_check CHECK ((status = ANY (ARRAY['RUNNING'::text, 'PAUSED'::text, 'STOPPED'::text]))),
    CONSTRAINT strategies_version_check CHECK ((version > 0))
);
CREATE TABLE public.strategy_marks (
    strategy_id text NOT NULL,
    body json NOT NULL
);
CREATE TABLE public.strategy_states (
    strategy_id text NOT NULL,
    version bigint NOT NULL,
    state text NOT NULL,
    CONSTRAINT strategy_states_version_check CHECK ((version > 0))
);
CREATE TABLE public.transfers (
    id uuid NOT NULL,
    step_id uuid NOT NULL,
    strategy_id text NOT NULL,
    bridge text NOT NULL,
    source_chain bigint NOT NULL,
    target_chain bigint NOT NULL,
    status text NOT NULL,
    version integer NOT NULL,
    body json NOT NULL,
    CONSTRAINT transfers_status_check CHECK ((status = ANY (ARRAY['PLANNED'::text, 'RESERVED'::text, 'DEPARTURE_SIGNED'::text, 'DEPARTURE_INCLUDED'::text, 'DEPARTURE_FINAL'::text, 'IN_FLIGHT'::text, 'CLAIMABLE'::text, 'ARRIVAL_SENT'::text, 'ARRIVAL_INCLUDED'::text, 'ARRIVED'::text, 'DELAYED'::text, 'ATTESTATION_EXPIRED'::text, 'SLOW_FILL'::text, 'MANUAL_REDEEM'::text, 'DELIVERED_OTHER_ASSET'::text, 'EXPIRED_REFUND_DUE'::text, 'REFUNDED'::text, 'INDETERMINATE'::text, 'NEEDS_OPERATOR'::text, 'ABANDONED'::text]))),
    CONSTRAINT transfers_version_check CHECK ((version > 0))
);
ALTER TABLE ONLY public.account_units
    ADD CONSTRAINT account_units_pkey PRIMARY KEY (account, asset);
ALTER TABLE ONLY public.attempts
    ADD CONSTRAINT attempts_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.balances
    ADD CONSTRAINT balances_pkey PRIMARY KEY (strategy_id, asset, bucket);
ALTER TABLE ONLY public.chain_marks
    ADD CONSTRAINT chain_marks_pkey PRIMARY KEY (strategy_id, chain_id);
ALTER TABLE ONLY public.cursors
    ADD CONSTRAINT cursors_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.events
    ADD CONSTRAINT events_pkey PRIMARY KEY (stream_id, version);
ALTER TABLE ONLY public.events
    ADD CONSTRAINT events_seq_key UNIQUE (seq);
ALTER TABLE ONLY public.halts
    ADD CONSTRAINT halts_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.idempotency_keys
    ADD CONSTRAINT idempotency_keys_pkey PRIMARY KEY (principal, key);
ALTER TABLE ONLY public.intents
    ADD CONSTRAINT intents_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.leases
    ADD CONSTRAINT leases_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.limit_reservations
    ADD CONSTRAINT limit_reservations_pkey PRIMARY KEY (attempt_id, place);
ALTER TABLE ONLY public.limit_usage
    ADD CONSTRAINT limit_usage_pkey PRIMARY KEY (limit_id, slot);
ALTER TABLE ONLY public.policies
    ADD CONSTRAINT policies_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.postings
    ADD CONSTRAINT postings_pkey PRIMARY KEY (seq, line);
ALTER TABLE ONLY public.schema_migrations
    ADD CONSTRAINT schema_migrations_pkey PRIMARY KEY (version);
ALTER TABLE ONLY public.steps
    ADD CONSTRAINT steps_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.strategies
    ADD CONSTRAINT strategies_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.strategy_marks
    ADD CONSTRAINT strategy_marks_pkey PRIMARY KEY (strategy_id);
ALTER TABLE ONLY public.strategy_states
    ADD CONSTRAINT strategy_states_pkey PRIMARY KEY (strategy_id);
ALTER TABLE ONLY public.transfers
    ADD CONSTRAINT transfers_pkey PRIMARY KEY (id);
CREATE INDEX account_units_chain ON public.account_units USING btree (chain_id, account);
CREATE INDEX attempts_hash ON public.attempts USING gin (hashes);
CREATE INDEX attempts_nonce ON public.attempts USING btree (chain_id, account, nonce) WHERE (status <> 'EXPIRED'::text);
CREATE UNIQUE INDEX attempts_one_live_per_nonce ON public.attempts USING btree (chain_id, account, nonce) WHERE (status = ANY (ARRAY['PREPARED'::text, 'BROADCAST'::text, 'INCLUDED'::text, 'REVERTED'::text, 'NEEDS_OPERATOR'::text]));
CREATE INDEX attempts_step ON public.attempts USING btree (step_id, nonce);
CREATE INDEX attempts_undecided ON public.attempts USING btree (chain_id, account, nonce) WHERE (status = 'NEEDS_OPERATOR'::text);
CREATE INDEX balances_chain ON public.balances USING btree (chain_id, asset);
CREATE INDEX events_aggregate ON public.events USING btree (aggregate, seq);
CREATE INDEX events_correlation ON public.events USING btree (correlation_id, seq);
CREATE INDEX events_occurred_at ON public.events USING brin (occurred_at);
CREATE UNIQUE INDEX gas_ticks_block ON ONLY public.gas_ticks USING btree (chain_id, block_number, at);
CREATE INDEX halts_active ON public.halts USING btree (id) WHERE (status = 'ACTIVE'::text);
CREATE INDEX intents_status ON public.intents USING btree (status, id);
CREATE INDEX intents_strategy ON public.intents USING btree (strategy_id, id);
CREATE UNIQUE INDEX market_ticks_block ON ONLY public.market_ticks USING btree (chain_id, base, quote, block_number, at);
CREATE INDEX postings_correlation ON public.postings USING btree (correlation_id, seq, line);
CREATE INDEX steps_intent ON public.steps USING btree (intent_id, ordinal);
CREATE INDEX steps_pending_due ON public.steps USING btree (due, intent_id) WHERE (status = 'PENDING'::text);
CREATE INDEX steps_ready ON public.steps USING btree (chain_id, priority DESC, deadline, id) WHERE (status = 'READY'::text);
CREATE INDEX steps_ready_deadline ON public.steps USING btree (deadline, intent_id) WHERE (status = 'READY'::text);
CREATE UNIQUE INDEX transfers_one_open_per_step ON public.transfers USING btree (step_id) WHERE (status <> ALL (ARRAY['ARRIVED'::text, 'REFUNDED'::text, 'ABANDONED'::text]));
CREATE INDEX transfers_step ON public.transfers USING btree (step_id, id);
CREATE INDEX transfers_strategy ON public.transfers USING btree (strategy_id, id);
CREATE TRIGGER events_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON public.events FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change();
CREATE TRIGGER postings_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON public.postings FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change();
