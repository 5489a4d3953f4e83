-- Grain: one row for each row of parsed, an answer of Feather about one agent call.
-- The words of status are those of feather.py (a test keeps the two in step).
SELECT
    id AS execution_id,
    created_at,
    call_started_at AS started_at,
    call_ended_at AS ended_at,
    lower(status) AS status,
    (
        COALESCE(lower(status) IN ('completed', 'failed'), FALSE)
        OR (call_ended_at IS NOT NULL AND COALESCE(lower(status) NOT IN ('pending', 'in_progress'), TRUE))
    ) AS terminal,
    NULL::TIMESTAMPTZ AS purged_at,
    CASE
        WHEN upper(call_ended_reason) = 'WARM_TRANSFER' THEN ['main', 'supervisor']
        ELSE ['main']
    END::VARCHAR[] AS legs,
    agent_id,
    CASE WHEN json_valid(agent_details) THEN json_extract_string(agent_details, '$.name') END AS agent_name,
    workflow_id,
    NULL::VARCHAR AS workflow_version_id,
    NULL::VARCHAR AS workflow_name,
    call_duration AS duration_seconds
FROM parsed
