-- Raw rows of one customer in $every, whatever their order: what the row-level suite is shown.
-- Grain: line. Parameter: $every. Input: view raw_month.
SELECT *
FROM raw_month
WHERE ('0x' || substr(sha256(coalesce(ncodpers, '')), 1, 8))::BIGINT % $every = 0
ORDER BY source, line_no
