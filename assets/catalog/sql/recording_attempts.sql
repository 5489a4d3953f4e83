-- Grain: one row for each try to archive a recording.
CREATE TABLE catalog.recording_attempts AS
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
FROM events
WHERE outcome NOT IN (SELECT outcome FROM not_attempts)
ORDER BY provider, "date", execution_id, leg, seq, "at";
