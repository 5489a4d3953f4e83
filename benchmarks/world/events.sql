-- Grain: one row for each event of the recordings of one partition, with the columns of an event file, in the order in which they happened.
WITH placed AS (
    SELECT
        r.* EXCLUDE (ended_at),
        s.seq,
        s.outcome,
        s.state,
        s.attempts,
        s.attempts_before,
        s.suspects,
        s.absences,
        s.epoch,
        s.http_status,
        s.detail,
        s.has_copy,
        CASE WHEN s.knows_end THEN r.ended_at END AS ended_at,
        md5(concat_ws('/', $seed, r.execution_id, r.leg, s.seq)) AS event_id,
        coalesce(r.eligible_at + to_microseconds(s.at), r.seen_at) AS "at",
        CASE
            WHEN s.is_due THEN $now + to_seconds(60 + hash(r.execution_id, $seed) % $spread_seconds)
            ELSE r.eligible_at + to_microseconds(s.next_attempt_at)
        END AS next_attempt_at,
        r.eligible_at + to_microseconds(s.eligible_since) AS eligible_since,
        r.eligible_at + to_microseconds(s.trying_since) AS trying_since
    FROM recordings AS r
    INNER JOIN steps AS s ON r.script = s.script
)

SELECT
    $provider AS provider,
    $day AS date,
    execution_id,
    leg,
    event_id,
    seq,
    "at",
    left(md5(concat_ws('/', $seed, $provider, $day, seq)), 32) AS run_id,
    outcome,
    state,
    attempts,
    attempts_before,
    suspects,
    epoch,
    next_attempt_at,
    eligible_since,
    trying_since,
    ended_at,
    http_status,
    detail,
    CASE WHEN outcome NOT IN ('discovered', 'ended', 'described') THEN $api_base END AS api_base,
    CASE WHEN attempts > 0 THEN $api_base END AS proved_base,
    CASE WHEN outcome NOT IN ('discovered', 'ended', 'described') THEN (hash(event_id) % 400) / 10.0 END AS seconds,
    CASE WHEN has_copy THEN concat(folder, '/', leg, '.', $extension) END AS path,
    CASE WHEN has_copy THEN (20000 + hash(execution_id, leg) % 5000000)::BIGINT END AS bytes,
    CASE WHEN has_copy THEN sha256(concat_ws('/', $seed, execution_id, leg)) END AS sha256,
    CASE WHEN has_copy THEN $content_type END AS content_type,
    CASE WHEN has_copy THEN sha256(concat_ws('/', $seed, execution_id, leg, 'sidecar')) END AS sidecar_sha256,
    CASE WHEN has_copy THEN 1 END AS number,
    CASE WHEN has_copy THEN coalesce(expected_seconds, 30.5) END AS media_seconds,
    NULL::VARCHAR AS flaw,
    CASE WHEN outcome <> 'discovered' THEN expected_seconds END AS expected_seconds,
    absences,
    CASE WHEN has_copy THEN "at" END AS archived_at
FROM placed
ORDER BY "at", event_id
