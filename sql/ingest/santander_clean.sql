-- One month's rows: padding and the token NA gone, exact copies collapsed, keys that contradict each other marked.
-- Grain: line. same_key = different rows with this ncodpers, 1 when all is well. Only codes that stand in the month more
-- than once are compared in all columns. Input: view raw_month (text columns, line_no, source). Source: data.md 2.
WITH trimmed AS (
    SELECT
        source,
        line_no,
        nullif(nullif(trim(COLUMNS(* EXCLUDE (source, line_no))), ''), 'NA')
    FROM raw_month
),
repeated AS (
    SELECT ncodpers
    FROM trimmed
    GROUP BY ncodpers
    HAVING count(*) > 1
),
collapsed AS (
    SELECT * EXCLUDE (source, line_no), min((source, line_no)) AS place
    FROM trimmed
    SEMI JOIN repeated USING (ncodpers)
    GROUP BY ALL
)
SELECT source, line_no, 1 AS same_key, * EXCLUDE (source, line_no)
FROM trimmed
ANTI JOIN repeated USING (ncodpers)
UNION ALL BY NAME
SELECT
    place[1] AS source,
    place[2] AS line_no,
    count(*) OVER (PARTITION BY ncodpers) AS same_key,
    * EXCLUDE (place)
FROM collapsed
