-- Grain: one row for each recording that the tail has news of: the tail's winning event, and where the tail's history of it begins.
CREATE VIEW published.news AS
SELECT
    *,
    min(seq) OVER (PARTITION BY provider, "date", execution_id, leg) AS first_seq
FROM published.tail
QUALIFY row_number() OVER (PARTITION BY provider, "date", execution_id, leg ORDER BY $order) = 1;
