-- name: begin_writing
-- Open a transaction and become the journal's only writer until it ends.
BEGIN; SELECT lock_journal();

-- name: newest
-- The seq of the newest event, or 0.
SELECT coalesce(max(seq), 0) FROM events;

-- name: heads
-- Where streams stand: last version and its hash, for those that exist.
SELECT s.stream_id, e.version, e.hash
FROM unnest($1::text[]) AS s (stream_id)
CROSS JOIN LATERAL (
    SELECT version, hash FROM events WHERE stream_id = s.stream_id ORDER BY version DESC LIMIT 1
) AS e;

-- name: accept
-- See the function.
SELECT accept_intents($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11);

-- name: accept_one
-- See the function.
SELECT accept_intent($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11);

-- name: commit_plain
-- See the function.
SELECT commit_plain(
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20,
    $21, $22, $23, $24, $25, $26
);

-- name: standing
-- See the function.
SELECT * FROM standing($1, $2, $3, $4, $5, $6, $7, $8);

-- name: commit_guarded
-- See the function.
SELECT commit_guarded(
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20,
    $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37, $38, $39,
    $40, $41, $42, $43, $44
);

-- name: known_keys
-- Which of these keys are taken, by what.
SELECT k.principal, k.key, k.digest, k.intent_id
FROM unnest($1::text[], $2::text[]) AS n (principal, key)
JOIN idempotency_keys AS k USING (principal, key);

-- name: stream
-- A stream's events above a version.
SELECT * FROM events WHERE stream_id = $1 AND version > $2 ORDER BY version;

-- name: related
-- All events of one correlation.
SELECT * FROM events WHERE correlation_id = $1 ORDER BY seq;

-- name: tail
-- Events above a seq.
SELECT * FROM events WHERE seq > $1 ORDER BY seq LIMIT $2;

-- name: cursor
-- How far a reader has come.
SELECT seq FROM cursors WHERE name = $1;

-- name: advance
-- Move a cursor forward, never back.
INSERT INTO cursors (name, seq) VALUES ($1, $2)
ON CONFLICT (name) DO UPDATE SET seq = greatest(cursors.seq, excluded.seq);

-- name: broken_links
-- Events whose version, predecessor or hash does not follow from the rows as they stand.
SELECT stream_id || '@' || version AS place
FROM (
    SELECT *,
        lag(version, 1, 0) OVER stream AS version_before,
        lag(hash, 1, decode(repeat('00', 32), 'hex')) OVER stream AS hash_before
    FROM events
    WINDOW stream AS (PARTITION BY stream_id ORDER BY version)
) AS e
WHERE version <> version_before + 1
    OR previous_hash <> hash_before
    OR hash <> sha256(hash_before || convert_to(
        concat_ws(
            E'\n', stream_id, version, kind, occurred_at, correlation_id,
            coalesce(causation_id::text, ''), body
        ),
        'UTF8'
    ))
ORDER BY stream_id, version
LIMIT $1;
