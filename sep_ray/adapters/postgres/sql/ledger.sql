-- name: balances
-- Balances of these buckets, for those that exist.
SELECT b.strategy_id, b.asset, b.bucket, b.units
FROM unnest($1::text[], $2::text[], $3::text[]) AS n (strategy_id, asset, bucket)
JOIN balances AS b USING (strategy_id, asset, bucket);

-- name: post
-- Add lines to the ledger, and to what accounts must hold what the lines say of them.
WITH lines AS (
    SELECT * FROM unnest(
        $1::bigint[], $2::integer[], $3::uuid[], $4::text[], $5::bigint[], $6::text[], $7::text[],
        $8::numeric[], $9::text[], $10::text[]
    ) AS n (
        seq, line, correlation_id, strategy_id, chain_id, asset, bucket, delta, proof, account
    )
), moved AS (
    INSERT INTO account_units AS a (account, chain_id, asset, units)
    SELECT account, chain_id, asset, sum(delta) FROM lines
    WHERE account <> '' AND bucket IN ('available', 'reserved')
    GROUP BY account, chain_id, asset
    ON CONFLICT (account, asset) DO UPDATE SET units = a.units + excluded.units
)
INSERT INTO postings (
    seq, line, correlation_id, strategy_id, chain_id, asset, bucket, delta, proof, account
)
SELECT * FROM lines;

-- name: write_balances
-- Store balances as they stand after the lines.
INSERT INTO balances (strategy_id, chain_id, asset, bucket, units)
SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::numeric[])
ON CONFLICT (strategy_id, asset, bucket) DO UPDATE SET units = excluded.units;

-- name: holdings
-- Balances that are not zero, of all strategies (null) or one.
SELECT strategy_id, asset, bucket, units FROM balances
WHERE units <> 0 AND ($1::text IS NULL OR strategy_id = $1);

-- name: totals
-- What a chain's accounts must hold.
SELECT asset, sum(units) AS units FROM balances
WHERE chain_id = $1 AND bucket IN ('available', 'reserved')
GROUP BY asset;

-- name: account_units
-- What one account of a chain must hold.
SELECT asset, units FROM account_units WHERE chain_id = $1 AND account = $2;

-- name: postings_of
-- The lines of one correlation.
SELECT strategy_id, asset, bucket, delta, proof, account FROM postings
WHERE correlation_id = $1
ORDER BY seq, line;
