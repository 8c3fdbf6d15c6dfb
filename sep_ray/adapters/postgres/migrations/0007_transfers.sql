-- Movements between chains: what their streams add up to.

ALTER TABLE events DROP CONSTRAINT events_aggregate_check;
ALTER TABLE events ADD CONSTRAINT events_aggregate_check CHECK (
    aggregate IN ('intent', 'step', 'attempt', 'account', 'strategy', 'transfer')
);

CREATE TABLE transfers (
    id uuid PRIMARY KEY,
    step_id uuid NOT NULL,
    strategy_id text NOT NULL,
    bridge text NOT NULL,
    source_chain bigint NOT NULL,
    target_chain bigint NOT NULL,
    status text NOT NULL CHECK (status IN (
        'PLANNED', 'RESERVED', 'DEPARTURE_SIGNED', 'DEPARTURE_INCLUDED', 'DEPARTURE_FINAL',
        'IN_FLIGHT', 'CLAIMABLE', 'ARRIVAL_SENT', 'ARRIVAL_INCLUDED', 'ARRIVED', 'DELAYED',
        'ATTESTATION_EXPIRED', 'SLOW_FILL', 'MANUAL_REDEEM', 'DELIVERED_OTHER_ASSET',
        'EXPIRED_REFUND_DUE', 'REFUNDED', 'INDETERMINATE', 'NEEDS_OPERATOR', 'ABANDONED'
    )),
    version integer NOT NULL CHECK (version > 0),
    body json NOT NULL
);
CREATE UNIQUE INDEX transfers_one_open_per_step ON transfers (step_id)
    WHERE status NOT IN ('ARRIVED', 'REFUNDED', 'ABANDONED');
CREATE INDEX transfers_step ON transfers (step_id, id);
CREATE INDEX transfers_strategy ON transfers (strategy_id, id);
