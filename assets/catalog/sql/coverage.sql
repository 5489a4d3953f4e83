-- Grain: one row for each provider and UTC day that has an execution or a recording.
CREATE VIEW coverage AS
WITH news AS MATERIALIZED (
    SELECT provider, "date", execution_id, leg, state, bytes, path, "number", epoch, seq, "at", event_id FROM published.news
),
former AS MATERIALIZED (
    SELECT
        states.provider, states."date", execution_id, leg, state, bytes, path, "number", epoch, seq, "at", event_id
    FROM published.states
    SEMI JOIN news USING (provider, "date", execution_id, leg)
    WHERE
        "date" IN (SELECT DISTINCT "date" FROM news UNION ALL SELECT DATE '0001-01-01')
        AND "month" IN (SELECT days."month" FROM published.days SEMI JOIN news USING (provider, "date") UNION ALL SELECT '')
),
changes AS (
    SELECT provider, "date", state, bytes, 1 AS recordings
    FROM (FROM news UNION ALL BY NAME FROM former)
    QUALIFY row_number() OVER (PARTITION BY provider, "date", execution_id, leg ORDER BY $order DESC) = 1
    UNION ALL BY NAME
    SELECT provider, "date", state, bytes, -1 AS recordings FROM former
),
counted AS (
    SELECT
        provider,
        "date",
        0 AS executions,
        recordings,
        $counts,
        CASE WHEN state = 'archived' THEN recordings * bytes ELSE 0 END AS bytes
    FROM changes
    UNION ALL BY NAME
    FROM published.coverage
)
SELECT
    provider,
    "date",
    sum(executions)::BIGINT AS executions,
    sum(recordings)::BIGINT AS recordings,
    $sums,
    sum(bytes)::BIGINT AS bytes
FROM counted
GROUP BY provider, "date"
ORDER BY provider, "date";
