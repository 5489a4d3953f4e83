-- Grain: one row for each provider and UTC day that has an execution or a recording.
CREATE TABLE catalog.coverage AS
WITH read AS (
    SELECT provider, "date", count(*) AS executions FROM catalog.executions GROUP BY provider, "date"
),
known AS (
    SELECT
        provider,
        "date",
        count(*) AS recordings,
        count(*) FILTER (state = 'pending') AS pending,
        count(*) FILTER (state = 'not_ready') AS not_ready,
        count(*) FILTER (state = 'blocked') AS blocked,
        count(*) FILTER (state = 'archived') AS archived,
        count(*) FILTER (state = 'absent') AS absent,
        count(*) FILTER (state = 'purged') AS purged,
        count(*) FILTER (state = 'failed') AS failed,
        coalesce(sum(bytes) FILTER (state = 'archived'), 0)::BIGINT AS bytes
    FROM catalog.recordings
    GROUP BY provider, "date"
)
SELECT
    provider,
    "date",
    coalesce(executions, 0) AS executions,
    coalesce(recordings, 0) AS recordings,
    coalesce(pending, 0) AS pending,
    coalesce(not_ready, 0) AS not_ready,
    coalesce(blocked, 0) AS blocked,
    coalesce(archived, 0) AS archived,
    coalesce(absent, 0) AS absent,
    coalesce(purged, 0) AS purged,
    coalesce(failed, 0) AS failed,
    coalesce(bytes, 0) AS bytes
FROM read
FULL JOIN known USING (provider, "date")
ORDER BY provider, "date";
