-- Grain: one row for each recording (provider, execution_id, leg).
CREATE TABLE catalog.recordings AS
-- The latest event may be about the execution, or an audit's: the copy is as old as the event that made it.
WITH made AS (
    SELECT provider, "date", execution_id, leg, coalesce(number, 1) AS number, min("at") AS archived_at
    FROM events
    WHERE outcome IN (SELECT outcome FROM copy_is_there)
    GROUP BY ALL
)
SELECT
    states.provider,
    states.execution_id,
    states.leg,
    states."date",
    state,
    attempts,
    next_attempt_at,
    CASE WHEN state = 'archived' THEN coalesce(made.archived_at, states."at") END AS archived_at,
    path,
    bytes,
    sha256,
    content_type,
    media_seconds,
    expected_seconds,
    flaw,
    outcome AS last_outcome,
    http_status AS last_http_status
FROM states
LEFT JOIN made
    ON states.provider = made.provider
    AND states."date" = made."date"
    AND states.execution_id = made.execution_id
    AND states.leg = made.leg
    AND coalesce(states.number, 1) = made.number
ORDER BY states.provider, states."date", states.execution_id, states.leg;
