-- Grain: one row for each recording that is due now.
CREATE VIEW due AS
WITH news AS MATERIALIZED (
    FROM published.news
),
touched AS (
    SELECT open_recordings.*, true AS is_open FROM published.open_recordings
    SEMI JOIN news USING (provider, "date", execution_id, leg)
    UNION ALL BY NAME
    -- What began before the tail, and was not open by then, had ended: a slow run's words do not open it again, a person's do.
    SELECT * EXCLUDE (first_seq, requeued), first_seq = 1 OR requeued AS is_open FROM news
),
current AS (
    SELECT open_recordings.*, true AS is_open FROM published.open_recordings
    ANTI JOIN news USING (provider, "date", execution_id, leg)
    UNION ALL BY NAME
    SELECT * REPLACE (bool_or(is_open) OVER (PARTITION BY provider, "date", execution_id, leg) AS is_open) FROM touched
    QUALIFY row_number() OVER (PARTITION BY provider, "date", execution_id, leg ORDER BY $order) = 1
)
SELECT
    provider,
    execution_id,
    leg,
    "date",
    state,
    attempts,
    next_attempt_at,
    outcome AS last_outcome,
    http_status AS last_http_status
FROM current
WHERE is_open AND state IN ($open) AND next_attempt_at <= now();
