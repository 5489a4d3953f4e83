-- Grain: one row for each recording that the tail has news of: the tail's winning event.
CREATE VIEW published.news AS
SELECT * FROM published.tail
QUALIFY row_number() OVER (PARTITION BY provider, "date", execution_id, leg ORDER BY $order DESC) = 1;
