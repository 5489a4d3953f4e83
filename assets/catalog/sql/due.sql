-- Grain: one row for each recording that is due now.
CREATE VIEW due AS
WITH news AS MATERIALIZED (
    SELECT
        provider,
        "date",
        execution_id,
        leg,
        max($order) AS "rank",
        arg_max({'state': state, 'attempts': attempts, 'next': next_attempt_at, 'outcome': outcome, 'status': http_status}, $order) AS facts,
        min(seq) AS first_seq,
        max(epoch) = max(epoch) FILTER (outcome = 'requeued') AS requeued
    FROM published.tail
    GROUP BY ALL
),
current AS (
    SELECT
        known.provider,
        known."date",
        known.execution_id,
        known.leg,
        CASE
            WHEN news."rank" > $order THEN news.facts
            ELSE {'state': state, 'attempts': attempts, 'next': next_attempt_at, 'outcome': outcome, 'status': http_status}
        END AS facts
    FROM published.open_recordings AS known
    LEFT JOIN news USING (provider, "date", execution_id, leg)
    UNION ALL
    -- What began before the tail, and was not open by then, had ended: a slow run's words do not open it again, a person's do.
    SELECT provider, "date", execution_id, leg, facts
    FROM news
    ANTI JOIN published.open_recordings USING (provider, "date", execution_id, leg)
    WHERE first_seq = 1 OR requeued
)
SELECT
    provider,
    execution_id,
    leg,
    "date",
    facts.state AS state,
    facts.attempts AS attempts,
    facts.next AS next_attempt_at,
    facts.outcome AS last_outcome,
    facts.status AS last_http_status
FROM current
WHERE facts.state IN ($open) AND facts.next <= now();
