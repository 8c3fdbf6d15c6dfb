-- name: write_intents
-- Store intents as they stand.
INSERT INTO intents (id, strategy_id, type, chain_id, status, version, body)
SELECT id, strategy_id, type, chain_id, status, version, body::json
FROM unnest(
    $1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::integer[], $7::text[]
) AS n (id, strategy_id, type, chain_id, status, version, body)
ON CONFLICT (id) DO UPDATE
SET status = excluded.status, version = excluded.version, body = excluded.body;

-- name: write_strategies
-- Store strategies as they stand.
INSERT INTO strategies (id, status, version, body)
SELECT id, status, version, body::json
FROM unnest($1::text[], $2::text[], $3::integer[], $4::text[]) AS n (id, status, version, body)
ON CONFLICT (id) DO UPDATE
SET status = excluded.status, version = excluded.version, body = excluded.body;

-- name: write_transfers
-- Store transfers as they stand; the caller sends ended ones first.
INSERT INTO transfers (
    id, step_id, strategy_id, bridge, source_chain, target_chain, status, version, body
)
SELECT id, step_id, strategy_id, bridge, source_chain, target_chain, status, version, body::json
FROM unnest(
    $1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::text[],
    $8::integer[], $9::text[]
) AS n (id, step_id, strategy_id, bridge, source_chain, target_chain, status, version, body)
ON CONFLICT (id) DO UPDATE
SET status = excluded.status, version = excluded.version, body = excluded.body;

-- name: intents
-- Intents by id.
SELECT body FROM intents WHERE id = ANY ($1::uuid[]) ORDER BY id;

-- name: open_intents
-- Intents without an end above an id; one index range per status.
SELECT body FROM (
    (SELECT id, body FROM intents WHERE status = 'ACCEPTED' AND id > $1 ORDER BY id LIMIT $2)
    UNION ALL
    (SELECT id, body FROM intents WHERE status = 'ACTIVE' AND id > $1 ORDER BY id LIMIT $2)
    UNION ALL
    (SELECT id, body FROM intents WHERE status = 'CANCELLING' AND id > $1 ORDER BY id LIMIT $2)
) AS open
ORDER BY id
LIMIT $2;

-- name: page_of_intents
-- Intents below an id, newest first, that fit the filter; null fits all.
SELECT body FROM intents
WHERE ($1::text IS NULL OR strategy_id = $1)
    AND ($2::text IS NULL OR status = $2)
    AND ($3::text IS NULL OR type = $3)
    AND ($4::bigint IS NULL OR chain_id = $4)
    AND ($5::uuid IS NULL OR id < $5)
ORDER BY id DESC
LIMIT $6;

-- name: steps
-- Steps by id.
SELECT body FROM steps WHERE id = ANY ($1::uuid[]);

-- name: steps_of
-- The steps of intents.
SELECT body FROM steps WHERE intent_id = ANY ($1::uuid[]) ORDER BY intent_id, ordinal;

-- name: ready_steps
-- A chain's steps that can begin, most urgent first.
SELECT body FROM steps WHERE status = 'READY' AND chain_id = $1
ORDER BY priority DESC, deadline, id
LIMIT $2;

-- name: next_due
-- When time alone will next move a step.
SELECT least(
    (SELECT min(due) FROM steps WHERE status = 'PENDING'),
    (SELECT min(deadline) FROM steps WHERE status = 'READY')
);

-- name: due_intents
-- Intents with a step that time alone has moved, the longest overdue first.
SELECT intent_id FROM (
    SELECT due AS since, intent_id FROM steps WHERE status = 'PENDING' AND due <= $1
    UNION ALL
    SELECT deadline, intent_id FROM steps WHERE status = 'READY' AND deadline <= $1
) AS due
GROUP BY intent_id
ORDER BY min(since), intent_id
LIMIT $2;

-- name: attempts
-- Attempts by id.
SELECT body FROM attempts WHERE id = ANY ($1::uuid[]);

-- name: live_attempts
-- A lane's attempts that are not settled.
SELECT body FROM attempts
WHERE chain_id = $1 AND account = $2
    AND status IN ('PREPARED', 'BROADCAST', 'INCLUDED', 'REVERTED', 'NEEDS_OPERATOR')
ORDER BY nonce;

-- name: attempts_of
-- The attempts made for steps.
SELECT body FROM attempts WHERE step_id = ANY ($1::uuid[]) ORDER BY step_id, nonce, id;

-- name: attempt_by_hash
-- The attempt with a signed version of this hash.
SELECT body FROM attempts WHERE hashes @> ARRAY[$1::text] LIMIT 1;

-- name: next_nonce
-- One above the highest nonce used or held.
SELECT max(nonce) + 1 FROM attempts WHERE chain_id = $1 AND account = $2 AND status <> 'EXPIRED';

-- name: transfers
-- Transfers by id.
SELECT body FROM transfers WHERE id = ANY ($1::uuid[]);

-- name: transfers_of
-- The transfers made for steps.
SELECT body FROM transfers WHERE step_id = ANY ($1::uuid[]) ORDER BY step_id, id;

-- name: open_transfers
-- Transfers that have not ended, of all chains (null) or with one end on this one.
SELECT body FROM transfers
WHERE status NOT IN ('ARRIVED', 'REFUNDED', 'ABANDONED')
    AND ($1::bigint IS NULL OR source_chain = $1 OR target_chain = $1)
ORDER BY id;

-- name: open_transfers_over
-- Transfers over some bridges that have not ended.
SELECT body FROM transfers
WHERE bridge = ANY ($1::text[]) AND status NOT IN ('ARRIVED', 'REFUNDED', 'ABANDONED');

-- name: page_of_transfers
-- Transfers below an id, newest first, that fit the filter; null fits all.
SELECT body FROM transfers
WHERE ($1::text IS NULL OR strategy_id = $1)
    AND ($2::text IS NULL OR bridge = $2)
    AND ($3::text IS NULL OR status = $3)
    AND ($4::bigint IS NULL OR source_chain = $4 OR target_chain = $4)
    AND ($5::uuid IS NULL OR id < $5)
ORDER BY id DESC
LIMIT $6;

-- name: strategies
-- Strategies, all (null) or one.
SELECT body FROM strategies WHERE $1::text IS NULL OR id = $1 ORDER BY id;

-- name: save_state
-- Keep a strategy's state if its version follows the one kept; no row when it does not.
INSERT INTO strategy_states AS s (strategy_id, state, version)
SELECT $1, $2, $3::bigint
WHERE $3::bigint = 1 OR EXISTS (SELECT FROM strategy_states WHERE strategy_id = $1)
ON CONFLICT (strategy_id) DO UPDATE SET state = excluded.state, version = excluded.version
WHERE s.version + 1 = excluded.version
RETURNING version;

-- name: load_state
-- The state last kept.
SELECT state, version FROM strategy_states WHERE strategy_id = $1;
