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
    CASE WHEN state = 'archived' THEN coalesce(archived_at, "at") END AS archived_at,
    path,
    bytes,
    sha256,
    content_type,
    flaw,
    outcome AS last_outcome,
    http_status AS last_http_status
FROM states
ORDER BY provider, "date", execution_id, leg;
