-- name: write_policies
-- Store the limits as they stand.
INSERT INTO policies (id, version, body)
SELECT id, version, body::json
FROM unnest($1::text[], $2::integer[], $3::text[]) AS n (id, version, body)
ON CONFLICT (id) DO UPDATE SET version = excluded.version, body = excluded.body;

-- name: write_halts
-- Store halts as they stand.
INSERT INTO halts (id, scope, target, mode, status, version, body)
SELECT id, scope, target, mode, status, version, body::json
FROM unnest(
    $1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::integer[], $7::text[]
) AS n (id, scope, target, mode, status, version, body)
ON CONFLICT (id) DO UPDATE
SET status = excluded.status, version = excluded.version, body = excluded.body;

-- name: policies
-- A set of limits.
SELECT body FROM policies WHERE id = $1;

-- name: active_halts
-- Halts that stand, the oldest first.
SELECT body FROM halts WHERE status = 'ACTIVE' ORDER BY id;

-- name: halts
-- Halts by id.
SELECT body FROM halts WHERE id = ANY ($1::uuid[]);

-- name: newest_halts
-- Halts, released ones too, the newest first.
SELECT body FROM halts ORDER BY id DESC LIMIT $1;

-- name: limit_usage
-- What is in use of these limits.
SELECT limit_id, slot, amount FROM limit_usage
WHERE limit_id = ANY ($1::text[])
ORDER BY limit_id, slot;

-- name: write_limit_usage
-- Store what is in use as it stands.
INSERT INTO limit_usage (limit_id, slot, amount)
SELECT * FROM unnest($1::text[], $2::bigint[], $3::numeric[])
ON CONFLICT (limit_id, slot) DO UPDATE SET amount = excluded.amount;

-- name: forget_limit_usage
-- Forget slots that have left their limit's window.
DELETE FROM limit_usage AS u
USING unnest($1::text[], $2::bigint[]) AS n (limit_id, since)
WHERE u.limit_id = n.limit_id AND u.slot < n.since;

-- name: reservations
-- What attempts that have not ended hold of limits.
SELECT body FROM limit_reservations WHERE attempt_id = ANY ($1::uuid[])
ORDER BY attempt_id, place;

-- name: ahead
-- Shares that lanes booked for attempts that are not durable.
SELECT attempt_id, body FROM limit_reservations AS r
WHERE body ->> 'lane' = ANY ($1::text[])
AND NOT EXISTS (SELECT FROM attempts WHERE id = r.attempt_id)
ORDER BY attempt_id, place;

-- name: reserve
-- Note shares of limits after those an attempt has.
INSERT INTO limit_reservations (attempt_id, place, limit_id, slot, body)
SELECT n.attempt_id, n.place + (
        SELECT coalesce(max(r.place), 0) FROM limit_reservations AS r
        WHERE r.attempt_id = n.attempt_id
    ), n.limit_id, n.slot, n.body::json
FROM unnest($1::uuid[], $2::integer[], $3::text[], $4::bigint[], $5::text[])
    AS n (attempt_id, place, limit_id, slot, body);

-- name: settle
-- Forget the shares of attempts that have ended.
DELETE FROM limit_reservations WHERE attempt_id = ANY ($1::uuid[]);

-- name: lock_mark
-- Let one writer at a time change a strategy's marks, until it commits.
SELECT pg_advisory_xact_lock(7305238, hashtext($1));

-- name: chain_marks
-- A strategy's results by chain.
SELECT body FROM chain_marks WHERE strategy_id = $1 ORDER BY chain_id;

-- name: write_chain_mark
-- Keep a result unless a newer one is kept.
INSERT INTO chain_marks AS m (strategy_id, chain_id, at, body) VALUES ($1, $2, $3, $4::json)
ON CONFLICT (strategy_id, chain_id) DO UPDATE SET at = excluded.at, body = excluded.body
WHERE m.at <= excluded.at;

-- name: strategy_marks
-- Marks of these strategies.
SELECT body FROM strategy_marks WHERE strategy_id = ANY ($1::text[]) ORDER BY strategy_id;

-- name: write_strategy_mark
-- Keep a strategy's marks.
INSERT INTO strategy_marks (strategy_id, body) VALUES ($1, $2::json)
ON CONFLICT (strategy_id) DO UPDATE SET body = excluded.body;
