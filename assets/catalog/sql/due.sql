-- Grain: one row for each recording that is due now.
CREATE VIEW due AS
WITH news AS MATERIALIZED (
    FROM published.news
),
-- Of most recordings with news the open ones tell what was known. The others are new, or had ended; only for these the states of
-- all days are asked.
ended AS (
    SELECT provider, "date", execution_id, leg
    FROM news
    ANTI JOIN published.open_recordings USING (provider, "date", execution_id, leg)
    WHERE first_seq > 1 AND state IN ($open)
),
touched AS (
    SELECT * EXCLUDE (first_seq) FROM news
    UNION ALL BY NAME
    SELECT open_recordings.* FROM published.open_recordings SEMI JOIN news USING (provider, "date", execution_id, leg)
    UNION ALL BY NAME
    SELECT states_by_row.* FROM published.states_by_row SEMI JOIN ended USING (provider, "date", execution_id, leg)
),
current AS (
    SELECT open_recordings.* FROM published.open_recordings ANTI JOIN news USING (provider, "date", execution_id, leg)
    UNION ALL BY NAME
    SELECT * FROM touched
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
WHERE state IN ($open) AND next_attempt_at <= now();
