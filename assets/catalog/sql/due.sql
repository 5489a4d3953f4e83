-- Grain: one row for each recording that is due now.
CREATE VIEW due AS
WITH news AS MATERIALIZED (
    SELECT
        provider,
        "date",
        execution_id,
        leg,
        -- The winning event, as its rank comes first in it.
        max({
            'rank': $order,
            'facts': {'state': state, 'attempts': attempts, 'next': next_attempt_at, 'outcome': outcome, 'status': http_status}
        }) AS winner,
        min(seq) AS first_seq,
        max(epoch) = max(epoch) FILTER (outcome = 'requeued') AS requeued
    FROM published.tail
    GROUP BY ALL
),
touched AS MATERIALIZED (
    SELECT
        news.provider,
        news."date",
        news.execution_id,
        news.leg,
        CASE
            WHEN known."at" IS NULL OR news.winner.rank > $order THEN news.winner.facts
            ELSE {'state': state, 'attempts': attempts, 'next': next_attempt_at, 'outcome': outcome, 'status': http_status}
        END AS facts
    FROM news
    LEFT JOIN published.open_recordings AS known USING (provider, "date", execution_id, leg)
    -- What began before the tail, and was not open by then, had ended: a slow run's words do not open it again, a person's do.
    WHERE known."at" IS NOT NULL OR first_seq = 1 OR requeued
),
-- What the tail says nothing of is as it was published: of that, what is not due is not looked at.
current AS NOT MATERIALIZED (
    SELECT provider, execution_id, leg, "date", state, attempts, next_attempt_at, outcome, http_status
    FROM published.open_recordings
    ANTI JOIN news USING (provider, "date", execution_id, leg)
    UNION ALL
    SELECT provider, execution_id, leg, "date", facts.state, facts.attempts, facts.next, facts.outcome, facts.status
    FROM touched
),
-- Blocked ones wait together: who meets the same fault again asks for one of them, and only that one gets a new time.
blocked AS MATERIALIZED (
    SELECT *, max(next_attempt_at) OVER (PARTITION BY provider) AS until FROM current WHERE state = 'blocked'
)
SELECT
    provider, execution_id, leg, "date", state, attempts, next_attempt_at, outcome AS last_outcome, http_status AS last_http_status
FROM current
WHERE state IN ($open) AND state <> 'blocked' AND next_attempt_at <= now()
UNION ALL
SELECT provider, execution_id, leg, "date", state, attempts, until, outcome, http_status
FROM blocked
WHERE until <= now();
