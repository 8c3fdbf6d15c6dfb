-- name: holdings
-- Balances that are not zero, of all strategies (null) or one.
SELECT strategy_id, asset, bucket, units FROM balances
WHERE units <> 0 AND ($1::text IS NULL OR strategy_id = $1);

-- name: has_held
-- A row when a strategy ever had a balance; one of zero is kept.
SELECT 1 FROM balances WHERE strategy_id = $1 LIMIT 1;

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
