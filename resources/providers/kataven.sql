-- Grain: one row for each row of parsed, a row of the session inventory.
-- A session of which nothing is said but its start counts as ended: the recording endpoint's 409 tells when it has not.
-- The words of status are those of kataven.py (a test keeps the two in step).
SELECT
    session_id AS execution_id,
    started_at AS created_at,
    started_at,
    ended_at,
    lower(status) AS status,
    (
        ended_at IS NOT NULL
        OR status IS NULL
        OR lower(status) IN (
            'completed', 'complete', 'ended', 'finished', 'done', 'failed', 'error', 'cancelled', 'canceled', 'no_answer',
            'no-answer', 'busy', 'voicemail'
        )
    ) AS terminal,
    NULL::TIMESTAMPTZ AS purged_at,
    ['main']::VARCHAR[] AS legs,
    agent_id,
    agent_name,
    NULL::VARCHAR AS workflow_id,
    NULL::VARCHAR AS workflow_version_id,
    NULL::VARCHAR AS workflow_name,
    COALESCE(duration_seconds, epoch(ended_at) - epoch(started_at)) AS duration_seconds
FROM parsed
