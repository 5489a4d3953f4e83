-- Grain: one row for each recording (provider, execution_id, leg) of a day.
CREATE VIEW recordings AS
WITH news AS MATERIALIZED (
    SELECT $shown FROM published.news
),
-- The days are asked for by themselves, since DuckDB then leaves the files of all other days closed; one day that never was among
-- them, since of no day at all it would make no filter.
former AS NOT MATERIALIZED (
    SELECT $shown
    FROM published.states
    SEMI JOIN news USING (provider, "date", execution_id, leg)
    WHERE "date" IN (SELECT DISTINCT "date" FROM news UNION ALL SELECT DATE '0001-01-01')
),
touched AS NOT MATERIALIZED (
    SELECT * FROM (FROM news UNION ALL BY NAME FROM former)
    QUALIFY row_number() OVER (PARTITION BY provider, "date", execution_id, leg ORDER BY $order DESC) = 1
),
untouched AS NOT MATERIALIZED (
    SELECT $shown
    FROM published.states
    ANTI JOIN news USING (provider, "date", execution_id, leg)
)
SELECT
    $recording
FROM (FROM untouched UNION ALL BY NAME FROM touched);
