-- Grain: one row for each execution that has a recording to be archived, and day.
CREATE VIEW execution_days AS
SELECT execution_id, provider, "date" FROM published.ids
UNION
SELECT execution_id, provider, "date" FROM published.tail;
