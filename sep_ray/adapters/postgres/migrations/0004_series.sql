-- Market data over time: TimescaleDB hypertables where the extension runs, else native range
-- partitions, one per day (UTC), made as they are needed.

-- Switch the extension on if this server has it loaded and lets us; true when it is there.
CREATE FUNCTION use_timescale() RETURNS boolean LANGUAGE plpgsql AS $$
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

-- Compress a hypertable's chunks that are older than a week, each segment's rows together.
CREATE FUNCTION compress_series(series text, segments text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format(
        'ALTER TABLE %I SET (timescaledb.compress, timescaledb.compress_segmentby = %L)',
        series, segments
    );
    PERFORM add_compression_policy(series::regclass, interval '7 days');
END $$;

-- Make a time series with these columns beside `at timestamptz`, in chunks of one day; compressed
-- where the extension's licence allows it.
CREATE FUNCTION make_series(series text, columns text, segments text) RETURNS void
LANGUAGE plpgsql AS $$
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

-- Make the partitions that hold these instants; nothing to do for a hypertable.
CREATE FUNCTION ensure_partitions(series text, first timestamptz, last timestamptz) RETURNS void
LANGUAGE plpgsql AS $$
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

SELECT make_series(
    'market_ticks',
    'chain_id bigint NOT NULL, base text NOT NULL, quote text NOT NULL,
     block_number bigint NOT NULL, numerator numeric(78, 0) NOT NULL,
     denominator numeric(78, 0) NOT NULL CHECK (denominator > 0)',
    'chain_id, base, quote'
);
CREATE UNIQUE INDEX market_ticks_block ON market_ticks (chain_id, base, quote, block_number, at);

SELECT make_series(
    'gas_ticks',
    'chain_id bigint NOT NULL, block_number bigint NOT NULL, base_fee_wei numeric(78, 0) NOT NULL,
     tip_wei numeric(78, 0) NOT NULL',
    'chain_id'
);
CREATE UNIQUE INDEX gas_ticks_block ON gas_ticks (chain_id, block_number, at);
