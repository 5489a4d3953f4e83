-- Grain: one row for each recording (provider, execution_id, leg).
CREATE TABLE catalog.recordings AS
SELECT
    provider,
    execution_id,
    leg,
    "date",
    state,
    attempts,
    next_attempt_at,
    -- The latest event may be about the execution, or an audit's: the copy says itself when it was made.
    CASE WHEN state = 'archived' THEN coalesce(archived_at, "at") END AS archived_at,
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
ORDER BY provider, "date", execution_id, leg;
