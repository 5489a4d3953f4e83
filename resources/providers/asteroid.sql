-- Grain: one row for each row of parsed, an answer of Asteroid about one execution.
-- The generations are told apart by workflowVersionId: without it, workflowId is the version's id and agentId is the workflow's.
-- The words of status are those of asteroid.py (a test keeps the two in step).
SELECT
    id AS execution_id,
    created_at,
    started_at,
    terminal_at AS ended_at,
    lower(status) AS status,
    (
        purged_at IS NOT NULL
        OR COALESCE(lower(status) IN ('completed', 'cancelled', 'failed'), FALSE)
        OR (
            terminal_at IS NOT NULL
            AND COALESCE(
                lower(status) NOT IN (
                    'queued', 'starting', 'running', 'paused', 'awaiting_confirmation', 'paused_by_agent'
                ),
                TRUE
            )
        )
    ) AS terminal,
    purged_at,
    ['main']::VARCHAR[] AS legs,
    COALESCE(agent_id, CASE WHEN workflow_version_id IS NOT NULL THEN workflow_id END) AS agent_id,
    COALESCE(agent_name, workflow_name) AS agent_name,
    CASE WHEN workflow_version_id IS NOT NULL THEN workflow_id ELSE agent_id END AS workflow_id,
    COALESCE(workflow_version_id, workflow_id) AS workflow_version_id,
    COALESCE(workflow_name, agent_name) AS workflow_name,
    duration AS duration_seconds
FROM parsed
