-- name: acquire
-- Take a lease that is free, expired or one's own; no row when another holds it.
INSERT INTO leases AS l (name, holder, epoch, expires_at)
VALUES ($1, $2, 1, clock_timestamp() + $3 * interval '1 millisecond')
ON CONFLICT (name) DO UPDATE
SET holder = excluded.holder, epoch = l.epoch + 1, expires_at = excluded.expires_at
WHERE l.holder = excluded.holder OR l.expires_at <= clock_timestamp()
RETURNING epoch;

-- name: renew
-- Prolong a lease that still stands; no row when it does not.
UPDATE leases SET expires_at = clock_timestamp() + $3 * interval '1 millisecond'
WHERE name = $1 AND epoch = $2 AND expires_at > clock_timestamp()
RETURNING epoch;

-- name: stands
-- The version of the limits, for the holder of a lease that still stands; else no row.
SELECT (SELECT coalesce(max(version), 0) FROM events WHERE stream_id = $3) AS policy_version
FROM leases WHERE name = $1 AND epoch = $2 AND expires_at > clock_timestamp();

-- name: release
-- Give a lease up.
UPDATE leases SET expires_at = '-infinity' WHERE name = $1 AND epoch = $2;
