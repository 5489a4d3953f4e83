-- Grain: one row for each recording that the tail has news of: the tail's winning event, and how the tail's history of it begins.
CREATE VIEW published.news AS
SELECT
    *,
    min(seq) OVER mine AS first_seq,
    coalesce(max(epoch) FILTER (outcome = 'requeued') OVER mine = epoch, false) AS requeued
FROM published.tail
WINDOW mine AS (PARTITION BY provider, "date", execution_id, leg)
QUALIFY row_number() OVER (PARTITION BY provider, "date", execution_id, leg ORDER BY $order) = 1;
