-- Grain: one row for each recording of one provider's day. Both arguments are known when the query is bound.
CREATE MACRO recordings_of(of_provider, of_date) AS TABLE
WITH known AS (
    SELECT $shown FROM ($state)
    UNION ALL BY NAME
    SELECT $shown FROM published.tail WHERE provider = of_provider AND "date" = CAST(of_date AS DATE)
),
winners AS (
    SELECT * FROM known
    QUALIFY row_number() OVER (PARTITION BY execution_id, leg ORDER BY $order DESC) = 1
)
SELECT
    $recording
FROM winners;
