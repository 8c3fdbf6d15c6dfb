-- name: ensure_partitions
-- Make room for these instants (milliseconds).
SELECT ensure_partitions(
    'market_ticks',
    'epoch'::timestamptz + $1::bigint * interval '1 millisecond',
    'epoch'::timestamptz + $2::bigint * interval '1 millisecond'
);

-- name: record_ticks
-- Keep ticks whose block has none yet.
INSERT INTO market_ticks (at, chain_id, base, quote, block_number, numerator, denominator)
SELECT 'epoch'::timestamptz + n.at * interval '1 millisecond', n.chain_id, n.base, n.quote,
    n.block_number, n.numerator, n.denominator
FROM unnest(
    $1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::bigint[], $6::numeric[], $7::numeric[]
) AS n (at, chain_id, base, quote, block_number, numerator, denominator)
WHERE NOT EXISTS (
    SELECT FROM market_ticks AS t
    WHERE (t.chain_id, t.base, t.quote, t.block_number)
        = (n.chain_id, n.base, n.quote, n.block_number)
)
ON CONFLICT DO NOTHING;

-- name: recent_ticks
-- A pair's newest ticks, newest first.
SELECT block_number, (extract(epoch FROM at) * 1000)::bigint AS at, numerator, denominator
FROM market_ticks
WHERE chain_id = $1 AND base = $2 AND quote = $3
ORDER BY block_number DESC
LIMIT $4;
