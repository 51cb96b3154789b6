-- One month's rows: padding and the token NA gone, exact copies collapsed, keys that contradict each other marked.
-- Grain: line. same_key = different rows with this (fecha_dato, ncodpers), 1 when all is well.
-- Input: view raw_month (text columns, line_no, source). Source: data.md 2.
WITH trimmed AS (
    SELECT
        source,
        line_no,
        nullif(nullif(trim(COLUMNS(* EXCLUDE (source, line_no))), ''), 'NA')
    FROM raw_month
),
collapsed AS (
    SELECT * EXCLUDE (source, line_no), min((source, line_no)) AS place
    FROM trimmed
    GROUP BY ALL
)
SELECT
    place[1] AS source,
    place[2] AS line_no,
    count(*) OVER (PARTITION BY fecha_dato, ncodpers) AS same_key,
    * EXCLUDE (place)
FROM collapsed
