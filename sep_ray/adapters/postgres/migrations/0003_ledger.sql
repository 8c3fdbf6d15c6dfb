-- The double-entry ledger. Amounts are smallest units; assets are CAIP-19 text.

CREATE TABLE postings (
    seq bigint NOT NULL,  -- of the first event of the commit that booked it
    line integer NOT NULL,  -- its place in the commit
    correlation_id uuid NOT NULL,
    strategy_id text NOT NULL,
    chain_id bigint NOT NULL,
    asset text NOT NULL,
    bucket text NOT NULL CHECK (bucket IN (
        'available', 'reserved', 'in_flight', 'refund_due', 'funding', 'spent', 'received', 'gas'
    )),
    delta numeric(78, 0) NOT NULL,
    proof text NOT NULL,  -- "block_hash/log_index", or '' for a move of our own
    PRIMARY KEY (seq, line)
);
CREATE INDEX postings_correlation ON postings (correlation_id, seq, line);
CREATE TRIGGER postings_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON postings
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TABLE balances (
    strategy_id text NOT NULL,
    chain_id bigint NOT NULL,
    asset text NOT NULL,
    bucket text NOT NULL,
    units numeric(78, 0) NOT NULL,
    PRIMARY KEY (strategy_id, asset, bucket),
    CONSTRAINT holdings_not_negative CHECK (
        units >= 0 OR bucket IN ('funding', 'spent', 'received', 'gas')
    )
);
CREATE INDEX balances_chain ON balances (chain_id, asset);
