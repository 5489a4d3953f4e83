-- Grain: one row for each try to archive a recording.
CREATE VIEW recording_attempts AS
SELECT
    provider,
    execution_id,
    leg,
    "date",
    seq,
    "at",
    run_id,
    outcome,
    state,
    http_status,
    detail,
    seconds,
    bytes,
    next_attempt_at
FROM (FROM published.histories UNION ALL BY NAME FROM published.appended)
WHERE outcome NOT IN ($not_attempts);
