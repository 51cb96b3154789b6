-- First month in which each customer code stands in the files.
-- Grain: ncodpers. Input: view raw (all months). Source: data.md 2, column 8.
SELECT trim(ncodpers) AS ncodpers, min(fecha_dato) AS first_seen
FROM raw
GROUP BY ALL
