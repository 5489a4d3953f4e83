-- Grain: one row for each recording that had an event at the publication: the winning one.
CREATE VIEW published.states AS
SELECT $event, '' AS "month" FROM published.day_states
UNION ALL
-- DuckDB looks at what a question leaves of the small table before it opens a file, and leaves those of other months closed. Where
-- nothing is left it opens all: so the table has the days that lie in no month's file, too. The provider is the small table's: by
-- that of the paths DuckDB would leave out files before it guesses how many rows there are, guess none, and begin at the wrong end.
SELECT $packed, packed."month"
FROM published.days
INNER JOIN published.month_states AS packed USING ("month", "date");
