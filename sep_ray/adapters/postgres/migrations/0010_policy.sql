-- What is allowed: limits and what of them is in use, halts, and how strategies do.

ALTER TABLE events DROP CONSTRAINT events_aggregate_check;
ALTER TABLE events ADD CONSTRAINT events_aggregate_check CHECK (
    aggregate IN ('intent', 'step', 'attempt', 'account', 'strategy', 'transfer', 'policy', 'halt')
);

CREATE TABLE policies (
    id text PRIMARY KEY,  -- 'limits': all of them in one body, whose version is the epoch
    version integer NOT NULL CHECK (version > 0),
    body json NOT NULL
);

CREATE TABLE limit_usage (
    limit_id text NOT NULL,
    slot bigint NOT NULL,  -- where it begins, milliseconds since 1970; 0 when time is no matter
    amount numeric(78, 0) NOT NULL CHECK (amount >= 0),
    PRIMARY KEY (limit_id, slot)
);

CREATE TABLE limit_reservations (  -- of attempts that have not ended
    attempt_id uuid NOT NULL,
    place integer NOT NULL,
    limit_id text NOT NULL,
    slot bigint NOT NULL,
    body json NOT NULL,
    PRIMARY KEY (attempt_id, place)
);

CREATE TABLE halts (
    id uuid PRIMARY KEY,
    scope text NOT NULL CHECK (scope IN ('intent', 'strategy', 'chain', 'all')),
    target text NOT NULL,
    mode text NOT NULL CHECK (mode IN ('halted', 'reducing')),
    status text NOT NULL CHECK (status IN ('ACTIVE', 'RELEASED')),
    version integer NOT NULL CHECK (version > 0),
    body json NOT NULL
);
CREATE INDEX halts_active ON halts (id) WHERE status = 'ACTIVE';

CREATE TABLE chain_marks (  -- a strategy on one chain, in smallest units of the numeraire
    strategy_id text NOT NULL,
    chain_id bigint NOT NULL,
    at bigint NOT NULL,
    body json NOT NULL,
    PRIMARY KEY (strategy_id, chain_id)
);

CREATE TABLE strategy_marks (
    strategy_id text PRIMARY KEY,
    body json NOT NULL
);
