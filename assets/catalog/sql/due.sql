-- Grain: one row for each recording that is due now.
CREATE VIEW due AS
WITH appended AS MATERIALIZED (
    SELECT $current FROM published.tail
),
known AS (
    SELECT $current FROM published.open_recordings
),
begun AS MATERIALIZED (
    SELECT provider, "date", execution_id, leg, min(seq) AS first_seq, max(epoch) FILTER (outcome = 'requeued') AS requeued
    FROM appended
    GROUP BY ALL
),
current AS (
    SELECT known.*, true AS is_open FROM known ANTI JOIN begun USING (provider, "date", execution_id, leg)
    UNION ALL BY NAME
    -- What began before the tail, and was not open by then, had ended: a slow run's words do not open it again, a person's do.
    SELECT winner.*, was_open.provider IS NOT NULL OR first_seq = 1 OR coalesce(requeued = epoch, false) AS is_open
    FROM (
        SELECT * FROM (FROM appended UNION ALL BY NAME (FROM known SEMI JOIN begun USING (provider, "date", execution_id, leg)))
        QUALIFY row_number() OVER (PARTITION BY provider, "date", execution_id, leg ORDER BY $order DESC) = 1
    ) AS winner
    JOIN begun USING (provider, "date", execution_id, leg)
    LEFT JOIN (SELECT provider, "date", execution_id, leg FROM known) AS was_open USING (provider, "date", execution_id, leg)
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
