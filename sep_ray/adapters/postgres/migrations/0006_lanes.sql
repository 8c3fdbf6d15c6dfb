-- Several accounts per chain: what each of them must hold, and attempts that wait for a person.

ALTER TABLE postings ADD COLUMN account text NOT NULL DEFAULT '';

CREATE TABLE account_units (
    account text NOT NULL,
    chain_id bigint NOT NULL,
    asset text NOT NULL,
    units numeric(78, 0) NOT NULL,
    PRIMARY KEY (account, asset)
);
CREATE INDEX account_units_chain ON account_units (chain_id, account);

-- Until now a chain had one account, and it held everything.
INSERT INTO account_units (account, chain_id, asset, units)
SELECT one.account, b.chain_id, b.asset, sum(b.units)
FROM balances AS b
JOIN (
    SELECT split_part(stream_id, '/', 2)::bigint AS chain_id, max(split_part(stream_id, '/', 3))
        AS account
    FROM events
    WHERE aggregate = 'account'
    GROUP BY 1
) AS one USING (chain_id)
WHERE b.bucket IN ('available', 'reserved', 'in_flight', 'refund_due')
GROUP BY one.account, b.chain_id, b.asset;

ALTER TABLE attempts DROP CONSTRAINT attempts_status_check;
ALTER TABLE attempts ADD CONSTRAINT attempts_status_check CHECK (status IN (
    'PREPARED', 'BROADCAST', 'INCLUDED', 'REVERTED', 'NEEDS_OPERATOR', 'FINAL', 'FINAL_REVERTED',
    'REPLACED', 'DROPPED', 'EXPIRED', 'CANCELLED'
));
DROP INDEX attempts_one_live_per_nonce;
CREATE UNIQUE INDEX attempts_one_live_per_nonce ON attempts (chain_id, account, nonce)
    WHERE status IN ('PREPARED', 'BROADCAST', 'INCLUDED', 'REVERTED', 'NEEDS_OPERATOR');
CREATE INDEX attempts_undecided ON attempts (chain_id, account, nonce)
    WHERE status = 'NEEDS_OPERATOR';
