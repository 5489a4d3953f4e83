-- Grain: one row for each row of parsed, a row of the session inventory.
-- Every session counts as ended: an inventory is written when a call is placed, and seldom after that, so an early status or a
-- missing end says nothing. Whether there is a recording yet is told by the recording endpoint's 409, which costs one question.
SELECT
    session_id AS execution_id,
    started_at AS created_at,
    started_at,
    ended_at,
    lower(status) AS status,
    TRUE AS terminal,
    NULL::TIMESTAMPTZ AS purged_at,
    ['main']::VARCHAR[] AS legs,
    agent_id,
    agent_name,
    NULL::VARCHAR AS workflow_id,
    NULL::VARCHAR AS workflow_version_id,
    NULL::VARCHAR AS workflow_name,
    COALESCE(duration_seconds, epoch(ended_at) - epoch(started_at)) AS duration_seconds
FROM parsed
